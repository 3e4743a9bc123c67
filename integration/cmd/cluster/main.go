//go:build linux

// Command cluster puts the shim, the workload's image and the RuntimeClass into
// the cluster of the guest.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/oomwitness/oomwitness/integration/kube"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	c, err := kube.Connect()
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing is left to lose
	return c.SetUp(ctx)
}
