// Command oomwitness is the node operator's command: it checks a node, installs
// and removes the shim, loads and unloads the ledger, and shows OOM kills.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	whycli.Print(os.Stderr, "oomwitness", err)
	os.Exit(whycli.Status(err))
}

// run executes one command line. whycli.Status returns the exit status of an error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := cli.New()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}
