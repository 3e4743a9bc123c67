// Command kubectl-oomwitness is a plugin of kubectl: "kubectl oomwitness why POD" says why
// a container has died.
package main

import (
	"context"
	"io"
	"os"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/oomwitness/oomwitness/cmd/kubectl-oomwitness/internal/plugin"
	"github.com/oomwitness/oomwitness/why/cli"
)

// version is set at link time: -ldflags "-X main.version=v1.2.3".
var version = "(devel)"

func main() {
	cli.Main("kubectl oomwitness", func(ctx context.Context, stdout io.Writer) error {
		command := plugin.New(genericiooptions.IOStreams{In: os.Stdin, Out: stdout, ErrOut: os.Stderr})
		command.Version = version
		command.SetArgs(plugin.Args(os.Args))
		return command.ExecuteContext(ctx)
	})
}
