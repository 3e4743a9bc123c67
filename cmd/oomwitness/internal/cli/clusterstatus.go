package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cluster"
	whycli "github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/text"
)

// clusterStatus is the output of cluster status as JSON. Schema stays 1 as long as fields are only
// added.
type clusterStatus struct {
	Schema int                  `json:"schema"`
	Nodes  []cluster.NodeStatus `json:"nodes"`
}

func newClusterStatus() *cobra.Command {
	var (
		a      access
		s      cluster.Status
		output string
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say which nodes carry the shim, and why the others do not",
		Long: `Say which nodes of the cluster carry the shim, and why the others do not:

  ready        the node carries the shim, and gets pods of the RuntimeClass
  working      the node is being set up, or waits for its turn
  unsupported  the node cannot carry the shim, and was left as it was
  failed       kubelet tries again after a pause
  without      the node has no pod of the DaemonSet

-o json prints one object with stable fields:

  {"schema": 1, "nodes": [
    {"node": "a", "state": "failed", "pod": "oomwitness-x", "why": "..."}]}

The command needs the rights "get" on the DaemonSet, and "list" on pods of its namespace and
on nodes.`,
		Example: `  oomwitness cluster status --kubeconfig ~/.kube/config`,
		Args:    whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(checkOutput(output), checkName("namespace", s.Namespace), checkName("daemonset", s.DaemonSet)); err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			s.API = client
			nodes, err := s.Nodes(cmd.Context())
			if err != nil {
				return err
			}
			return writeStatus(cmd, output, nodes)
		},
	}
	a.add(cmd)
	outputFlag(cmd, &output)
	flags := cmd.Flags()
	flags.StringVarP(&s.Namespace, "namespace", "n", "oomwitness", "namespace of the DaemonSet")
	flags.StringVar(&s.DaemonSet, "daemonset", "oomwitness", "name of the DaemonSet")
	flags.StringVar(&s.Label, "label", "", "label of nodes with the shim (default: the label that the DaemonSet sets)")
	return cmd
}

func writeStatus(cmd *cobra.Command, output string, nodes []cluster.NodeStatus) error {
	if output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(clusterStatus{Schema: 1, Nodes: nodes})
	}
	table := text.Table{Columns: []text.Column{{Title: "NODE"}, {Title: "STATE"}, {Title: "WHY"}}}
	ready := 0
	for _, n := range nodes {
		table.Add(n.Node, string(n.State), n.Why)
		if n.State == cluster.Ready {
			ready++
		}
	}
	if err := table.Write(cmd.OutOrStdout(), 0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d of %d nodes are ready\n", ready, len(nodes))
	return err
}
