package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	"github.com/oomwitness/oomwitness/why"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newCluster() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show which nodes of a cluster carry the shim, or remove the shim from a cluster",
		Example: `  oomwitness cluster status
  oomwitness cluster remove --namespace oomwitness`,
	}
	cmd.AddCommand(newClusterStatus(), newClusterRemove())
	return cmd
}

func newClusterRemove() *cobra.Command {
	var (
		a access
		r cluster.Removal
	)
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Have every node remove the shim, unless pods still use it",
		Long: `Have every node remove the shim, its registration and the ledger. The Helm chart
runs this ahead of its uninstall.

While pods use the runtime handler, by any RuntimeClass, remove refuses with the names of
the pods, and changes nothing. With --drain, remove evicts the pods instead, and respects
disruption budgets.

New pods of the chart's DaemonSet do the work by "oomwitness node remove". If a node is not
done in time, remove prints the node with the output of its pod. Then remove puts the
DaemonSet back, and all nodes are set up again.

Of Kubernetes remove needs "list" on pods, nodes and runtimeclasses, "get" and "patch" on
the DaemonSet, and for --drain "create" on pods/eviction.`,
		Example: `  oomwitness cluster remove --namespace oomwitness
  oomwitness cluster remove --namespace oomwitness --drain --timeout 30m`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Namespace == "" || r.DaemonSet == "" {
				return fmt.Errorf("--namespace %q, --daemonset %q: have to name the chart's DaemonSet, such as --namespace oomwitness", r.Namespace, r.DaemonSet)
			}
			if err := errors.Join(checkName("namespace", r.Namespace), checkName("daemonset", r.DaemonSet)); err != nil {
				return err
			}
			if r.Patience <= 0 {
				return fmt.Errorf("--timeout %s: has to be more than nothing", r.Patience)
			}
			if r.Handler != "" {
				if err := why.Usage(criconf.CheckHandler(r.Handler)); err != nil {
					return err
				}
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			r.API = client
			r.Say = func(format string, args ...any) { fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...) }
			return r.Run(cmd.Context())
		},
	}
	a.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&r.Namespace, "namespace", "n", "", "namespace of the DaemonSet")
	flags.StringVar(&r.DaemonSet, "daemonset", "oomwitness", "name of the DaemonSet")
	flags.StringVar(&r.Handler, "runtime-name", criconf.DefaultHandler, "name of the runtime handler; empty if the nodes have the ledger alone")
	flags.StringVar(&r.Label, "label", node.DefaultLabel, "label of the nodes that carry the shim")
	flags.BoolVar(&r.Drain, "drain", false, "evict the pods that use the handler")
	whycli.DurationVar(flags, &r.Patience, "timeout", 10*time.Minute, "time for all steps together")
	return cmd
}
