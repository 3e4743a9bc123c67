//go:build linux

// Command containerd-shim-oomwitness-v2 is the containerd runtime shim
// io.containerd.oomwitness.v2: upstream's runc shim, which reports every OOM before the exit
// that the OOM caused.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/oomwitness/oomwitness/cmd/containerd-shim-oomwitness-v2/internal/procs" // first of all
	"github.com/oomwitness/oomwitness/shim"
)

func main() {
	run := func(ctx context.Context) error { return shim.Run(ctx, shim.NewManager()) }
	switch {
	case asksVersion(os.Args):
		run = func(context.Context) error { return writeVersion(os.Stdout, filepath.Base(os.Args[0])) }
	case shim.IsDeferredPublisher(os.Args):
		run = shim.RunDeferredPublisher
	}
	if err := run(context.Background()); err != nil {
		// containerd adds this text to its own error.
		fmt.Fprintf(os.Stderr, "%s: %s", shim.Runtime, err)
		os.Exit(1)
	}
}
