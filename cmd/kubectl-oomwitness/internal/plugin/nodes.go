package plugin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/text"
)

// nodesCommand is "kubectl oomwitness nodes".
type nodesCommand struct{ *options }

// nodesAnswer is the output of nodes as JSON and YAML.
type nodesAnswer struct {
	Schema int         `json:"schema"`
	Nodes  []nodeState `json:"nodes"`
}

// nodeState is a node in the output of nodes.
type nodeState struct {
	Node  string `json:"node"`
	Agent string `json:"agent,omitempty"` // namespace/name of the pod
	// Ready reports whether the agent answers and reads the ledger; Why says why not.
	Ready  bool        `json:"ready"`
	Why    string      `json:"why,omitempty"`
	Status *why.Status `json:"status,omitempty"`
}

func newNodes(o *options) *cobra.Command {
	c := &nodesCommand{o}
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Show the agent and the ledger of each node",
		Long: `Show for each node the agent: its version, the tier of the node's ledger, whether the
agent is ready, and if not why.

  TIER    A or B see all; C does not see whose limit was exceeded; - is no ledger
  EVENTS  OOM events that the agent keeps
  EXITS   ends of containers that the agent keeps; 0 where no container runs under
          oomwitness's shim

Exit status: 0 if all nodes are ready, 4 if an agent is missing or not ready.`,
		Example: `  kubectl oomwitness nodes
  kubectl oomwitness nodes -o json | jq '.nodes[] | select(.ready | not)'`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context()) },
	}
	o.addOutput(cmd, false)
	return cmd
}

func (c *nodesCommand) run(ctx context.Context) error {
	if err := c.complete(); err != nil {
		return err
	}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the nodes: %w", err)
	}
	agents, err := c.agents(ctx, "")
	if err != nil {
		return err
	}
	states := statesOf(nodes.Items, askAll[why.Status](ctx, c.options, agents, why.PathStatus, nil, allTimeout))
	if err := interrupted(ctx); err != nil {
		return err
	}
	if err := c.write(nodesAnswer{why.Schema, states}, func() error { return c.table(states) }); err != nil {
		return err
	}
	if slices.ContainsFunc(states, func(s nodeState) bool { return !s.Ready }) {
		return &why.Exit{Status: why.StatusNoAgent}
	}
	return nil
}

// nodeNote says that a node is not ready or gone, which explains an agent that does not
// answer; "" if the node is ready, or nobody knows.
func (o *options) nodeNote(ctx context.Context, name string) string {
	if name == "" {
		return ""
	}
	nodes, err := o.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	switch {
	case err != nil:
		return ""
	case len(nodes.Items) == 0:
		return fmt.Sprintf("node %s is not in the cluster any more", name)
	}
	for _, c := range nodes.Items[0].Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return fmt.Sprintf("node %s is not ready since %s: %s", name, c.LastTransitionTime.UTC().Format("2006-01-02 15:04:05 MST"), c.Message)
		}
	}
	return ""
}

// statesOf puts nodes and answers together. An agent that answers goes before one that
// does not: two are on a node while the DaemonSet is updated.
func statesOf(nodes []corev1.Node, answers []answer[why.Status]) []nodeState {
	byNode := map[string]nodeState{}
	for _, n := range nodes {
		byNode[n.Name] = nodeState{Node: n.Name, Why: errNoAgent.Error()}
	}
	for _, a := range answers {
		s := nodeState{Node: a.agent.Spec.NodeName, Agent: a.agent.Namespace + "/" + a.agent.Name}
		switch {
		case a.err != nil:
			s.Why = a.err.Error()
		default:
			s.Status, s.Ready, s.Why = &a.value, a.value.Ready, a.value.Why
		}
		if old, ok := byNode[s.Node]; !ok || old.Status == nil {
			byNode[s.Node] = s
		}
	}
	states := make([]nodeState, 0, len(byNode))
	for _, s := range byNode {
		if s.Node != "" { // else the agent's pod is on no node yet
			states = append(states, s)
		}
	}
	slices.SortFunc(states, func(a, b nodeState) int { return strings.Compare(a.Node, b.Node) })
	return states
}

func (c *nodesCommand) table(states []nodeState) error {
	t := text.Table{Columns: []text.Column{
		{Title: "NODE", Least: 12}, {Title: "READY"}, {Title: "TIER"}, {Title: "VERSION", Least: 7}, {Title: "EVENTS", Number: true},
		{Title: "EXITS", Number: true}, {Title: "WHY NOT, OR WITHOUT", Least: 20},
	}}
	for _, s := range states {
		row := []string{s.Node, "no", "-", "-", "-", "-", s.Why}
		if s.Ready {
			row[1] = "yes"
		}
		if st := s.Status; st != nil {
			if st.Tier != "" {
				row[2] = st.Tier
			}
			row[3], row[4], row[5] = st.Version, strconv.Itoa(st.Events), strconv.Itoa(st.Exits)
			if s.Why == "" {
				row[6] = strings.Join(st.Without, "; ")
			}
		}
		t.Add(row...)
	}
	return c.writeTable(&t, nil, "the cluster has no nodes")
}
