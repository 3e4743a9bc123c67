package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli"
	"github.com/oomwitness/oomwitness/why/text"
)

// versionCommand is "kubectl oomwitness version".
type versionCommand struct {
	*options
	client bool
}

// versions are those of the plugin and of the agents.
type versions struct {
	Schema int            `json:"schema"`
	Plugin string         `json:"plugin"`
	Agents []agentVersion `json:"agents,omitempty"`
	// Silent are the nodes whose agent did not answer.
	Silent []silentAgent `json:"silent,omitempty"`
}

// agentVersion is a version with the nodes whose agent has the version.
type agentVersion struct {
	Version string   `json:"version"`
	Nodes   []string `json:"nodes"`
}

// silentAgent is an agent that did not answer.
type silentAgent struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

func newVersion(o *options) *cobra.Command {
	c := &versionCommand{options: o}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of the plugin and of the agents",
		Long: `Show the version of the plugin, and the version of each agent in the cluster.

Exit status: 0 if all agents answered, 4 if an agent did not answer or there is none.`,
		Example: `  kubectl oomwitness version
  kubectl oomwitness version --client`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), cmd.Root().Version) },
	}
	cmd.Flags().BoolVar(&c.client, "client", false, "the version of the plugin alone: no cluster is asked")
	o.addOutput(cmd, false)
	return cmd
}

func (c *versionCommand) run(ctx context.Context, plugin string) error {
	v := versions{Schema: why.Schema, Plugin: plugin}
	if err := c.check(); err != nil || c.client {
		if err != nil {
			return err
		}
		return c.write(v, func() error { return c.text(&v) })
	}
	if err := c.connect(); err != nil {
		return err
	}
	agents, err := c.agents(ctx, "")
	if err != nil {
		return err
	}
	v.add(askAll[why.Status](ctx, c.options, agents, why.PathStatus, nil, allTimeout))
	if err := interrupted(ctx); err != nil {
		return err
	}
	if err := c.write(v, func() error { return c.text(&v) }); err != nil {
		return err
	}
	switch {
	case len(agents) == 0:
		return &why.Exit{Status: why.StatusNoAgent, Err: fmt.Errorf("no pod has the labels %s", c.agentSelector)}
	case len(v.Silent) > 0:
		return &why.Exit{Status: why.StatusNoAgent}
	}
	return nil
}

// add puts the answers of the agents together by their version.
func (v *versions) add(answers []answer[why.Status]) {
	nodes := map[string][]string{}
	for _, a := range answers {
		if node := nodeOf(a.agent); a.err != nil {
			v.Silent = append(v.Silent, silentAgent{node, a.err.Error()})
		} else {
			nodes[a.value.Version] = append(nodes[a.value.Version], node)
		}
	}
	for version, list := range nodes {
		slices.Sort(list)
		v.Agents = append(v.Agents, agentVersion{version, list})
	}
	slices.SortFunc(v.Agents, func(a, b agentVersion) int { return strings.Compare(a.Version, b.Version) })
	slices.SortFunc(v.Silent, func(a, b silentAgent) int { return strings.Compare(a.Node, b.Node) })
}

func (c *versionCommand) text(v *versions) error {
	t := text.Table{Columns: []text.Column{{Title: "PROGRAM"}, {Title: "VERSION", Least: 7}, {Title: "NODES", Number: true}, {Title: "NAMES", Least: 20}}}
	t.Add("plugin", v.Plugin, "-", "-")
	for _, a := range v.Agents {
		t.Add("agent", a.Version, fmt.Sprint(len(a.Nodes)), strings.Join(a.Nodes, ", "))
	}
	for _, s := range v.Silent {
		t.Add("agent", "-", "1", s.Node+": "+s.Why)
	}
	return c.writeTable(&t, nil, "")
}
