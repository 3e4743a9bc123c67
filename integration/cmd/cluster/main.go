//go:build linux

// Command cluster installs the shim, the workload's image and the RuntimeClass in the guest's
// cluster.
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
	defer c.Close() //nolint:errcheck // the process ends here
	return c.SetUp(ctx)
}
