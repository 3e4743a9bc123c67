// Command oomwitness is the node operator's command: it checks a node, installs
// and removes the shim, loads and unloads the ledger, and shows OOM kills.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && err.Error() != "" { // else the output has said all
		fmt.Fprintln(os.Stderr, "oomwitness:", err)
	}
	os.Exit(cli.Status(err))
}

// run executes one command line. cli.Status is the exit status of an error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := cli.New()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}
