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

// version is set at link time: -ldflags "-X main.version=v1.2.3".
var version = "(devel)"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	command := plugin.New(streams)
	command.Version = version
	command.SetArgs(plugin.Args(os.Args))
	err := command.ExecuteContext(ctx)
	stop()
	cli.Print(os.Stderr, "kubectl oomwitness", err)
	os.Exit(cli.Status(err))
}
