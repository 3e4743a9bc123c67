package cli

import "github.com/spf13/cobra"

func newAgent() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Report every OOM kill on this node to log, metrics and Kubernetes",
		Long: `Report every OOM kill on this node, in a container or not, to log, metrics and
Kubernetes, until Ctrl-C or SIGTERM. The agent needs a ledger (oomwitness load), and
waits for it. One agent runs on a node: as a pod of the Helm chart's DaemonSet, or as the
systemd unit that "oomwitness install --agent" writes.

The agent reports each OOM event by

  log          one line with all victims: whose limit, the process, its sizes, pod
               and container; JSON unless on a terminal
  Prometheus   /metrics at --metrics-address
  page         / and /api/v1/events at the same address; --page=false without.
               What a pod's owner may not see is left out, but for --page-all
  Kubernetes   an Event on the pod, or on the Node for what is in no pod

Where a limit above the container's was the cause, another node may be better for
the pod. --mark-causes says at which causes it is marked by an annotation or a label
(--victim-annotation, --victim-label), for which a descheduler may look, and with
--evict evicted through the Eviction API. Without these nothing is changed;
--dry-run says what would be.

Names come from the cgroups, which are watched; from containerd, if --address
answers; and from the API server, which is asked for the pods of this node alone.
Without Kubernetes, or while the API server is away, all the rest works.

The agent's position is a journal in --state-dir: an OOM event is written to the
journal before it is reported, so that an agent that was killed goes on where it was.
The agent counts each kill once, and reports to Kubernetes after the restart what was
not reported before. The ledger keeps some 4,000 kills for an agent that is away; whose
they were is known from --state-dir too, if a container began while an agent ran and its
pod is still there.

To live through the OOM itself it wants an oom_score_adj near -1000, and a memory
limit of its cgroup that is above --memory-limit; the unit and the chart give both.`,
		Example: `  oomwitness agent
  oomwitness agent --log-format json --metrics-address '' --kubernetes=false
  oomwitness agent --victim-label example.com/oom=true --mark-causes node --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, f) },
	}
	f.add(cmd.Flags())
	return cmd
}
