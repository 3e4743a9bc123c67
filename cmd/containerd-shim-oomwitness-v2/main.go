//go:build linux

// Command containerd-shim-oomwitness-v2 is the containerd runtime shim
// io.containerd.oomwitness.v2: upstream's runc shim, which announces every OOM
// before the exit that it caused.
package main

import (
	"context"
	"os"

	upstream "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oomwitness/oomwitness/shim"
)

func main() {
	shim.LimitProcs()
	if shim.IsMessenger(os.Args) {
		if err := shim.RunMessenger(context.Background()); err != nil {
			os.Exit(1) // it has nobody to tell
		}
		return
	}
	upstream.RunShim(context.Background(), shim.NewManager())
}
