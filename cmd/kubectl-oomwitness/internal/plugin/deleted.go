package plugin

import (
	"context"
	"fmt"

	"github.com/oomwitness/oomwitness/why"
)

// deleted asks all agents for a pod that the API server does not have. A pod of that name may
// have run on several nodes, such as that of a StatefulSet.
func (c *whyCommand) deleted(ctx context.Context) error {
	agents, err := c.agents(ctx, "")
	if err != nil {
		return &why.Exit{Status: why.StatusNoAgent, Err: fmt.Errorf("pod %q is not in namespace %q, and no agent was asked for a deleted pod: %w", c.pod, c.namespace, err)}
	}
	found, missing := c.documents(ctx, agents, allTimeout)
	if err := interrupted(ctx); err != nil {
		return err
	}
	switch {
	case len(found) > 0:
		d := why.Merge(found)
		d.Notes = append(d.Notes, "the pod was deleted: there is no status of the pod any more")
		if missing != "" {
			d.Notes = append(d.Notes, "newer runs may be missing here: "+missing)
		}
		return c.show(ctx, d)
	case missing != "":
		return &why.Exit{Status: why.StatusNoAgent, Err: fmt.Errorf("pod %q is not in namespace %q, and %s", c.pod, c.namespace, missing)}
	case len(agents) == 0:
		return why.NotFound("pod %q is not in namespace %q, and there are no agents that could know a deleted pod", c.pod, c.namespace)
	}
	return why.NotFound("pod %q is not in namespace %q, and none of the %d agents knows a deleted pod of that name", c.pod, c.namespace, len(agents))
}
