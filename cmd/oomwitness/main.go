// Command oomwitness is the node operator's command: it checks a node, installs
// and removes the shim, loads and unloads the ledger, and shows OOM kills.
package main

import (
	"context"
	"io"
	"os"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func main() {
	whycli.Main("oomwitness", func(ctx context.Context, stdout io.Writer) error { return run(ctx, os.Args[1:], stdout, os.Stderr) })
}

// run executes one command line. whycli.Status returns the exit status of an error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := cli.New(stdout, stderr)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}
