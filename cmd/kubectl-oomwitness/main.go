// Command kubectl-oomwitness is a plugin of kubectl: "kubectl oomwitness why POD" says why
// a container has died.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/oomwitness/oomwitness/cmd/kubectl-oomwitness/internal/plugin"
	"github.com/oomwitness/oomwitness/why/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	err := plugin.New(streams).ExecuteContext(ctx)
	stop()
	cli.Print(os.Stderr, "kubectl oomwitness", err)
	os.Exit(cli.Status(err))
}
