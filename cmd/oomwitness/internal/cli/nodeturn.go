package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// turnFlags limit the number of nodes that are set up at the same time.
type turnFlags struct {
	most            int
	lasts           time.Duration
	namespace, name string
}

func (f *turnFlags) add(flags *pflag.FlagSet) {
	flags.IntVar(&f.most, "at-once", 0, "setup: how many nodes of the cluster are set up at once; 0 for no bound")
	whycli.DurationVar(flags, &f.lasts, "turn-lasts", 15*time.Minute, "setup: when the turn of a node expires whose set-up fails")
	flags.StringVar(&f.namespace, "namespace", "oomwitness", "setup: namespace of the Leases of --at-once")
	flags.StringVar(&f.name, "turns", "oomwitness-turn", "setup: what the names of these Leases begin with: NAME-0 and on")
}

func (f *turnFlags) check() error {
	if f.most < 0 || f.lasts < time.Second {
		return fmt.Errorf("--at-once %d, --turn-lasts %s: have to be 0 and 1s at least", f.most, f.lasts)
	}
	return nil
}

// setUp sets a node up when the node has its turn. A node that fails keeps its turn; a node
// that is set up, or cannot be set up, returns the turn.
func (f *turnFlags) setUp(cmd *cobra.Command, leases cluster.Leases, name string, n *node.Node) error {
	turns := cluster.Turns{
		API: leases, Namespace: f.namespace, Name: f.name, Node: name, Most: f.most, Lasts: f.lasts, Say: n.Say,
	}
	back, err := turns.Take(cmd.Context())
	if err != nil {
		return err
	}
	err = n.Setup(cmd.Context())
	var unsupported *node.UnsupportedError
	if err != nil && !errors.As(err, &unsupported) {
		return err
	}
	return errors.Join(err, back(context.WithoutCancel(cmd.Context())))
}
