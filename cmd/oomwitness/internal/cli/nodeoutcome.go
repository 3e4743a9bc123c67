package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// outcome decides how the command ends on a node that cannot run the shim.
type outcome struct {
	unsupported, message string
	file                 *os.File
}

func (o *outcome) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.unsupported, "unsupported", "fail",
		"setup: what to do on a node that cannot carry the shim: fail; or leave, to remove the label and change nothing else")
	flags.StringVar(&o.message, "message-file", "",
		"setup: file for why the node was left, such as /dev/termination-log, where \"oomwitness cluster status\" finds it")
}

// open checks the flags, and opens the file before the process changes its root to the host's.
func (o *outcome) open() error {
	if err := whycli.OneOf("unsupported", o.unsupported, "fail", "leave"); err != nil || o.message == "" {
		return err
	}
	var err error
	if o.file, err = os.OpenFile(o.message, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
		return fmt.Errorf("--message-file: %w", err)
	}
	return nil
}

// of turns the refusal of a node into success, if the flags ask for that.
func (o *outcome) of(cmd *cobra.Command, n *node.Node, err error) error {
	var refused *node.UnsupportedError
	if o.unsupported != "leave" || !errors.As(err, &refused) {
		return err
	}
	if err := n.Mark(cmd.Context(), false); err != nil {
		return errors.Join(refused, err)
	}
	if o.file != nil {
		if _, err := o.file.WriteString(cluster.UnsupportedPrefix + refused.Error()); err != nil {
			return errors.Join(refused, err)
		}
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "the node is left as it is: %v\n", refused)
	return err
}
