package cli

import (
	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/agent"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

func newAgent() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Report every OOM kill on this node to log, metrics and Kubernetes",
		Long: `Report every OOM kill on this node, in a container or not, to log, metrics and Kubernetes,
until Ctrl-C or SIGTERM. The agent needs a ledger (oomwitness load), and waits for the
ledger. One agent runs on a node: a pod of the Helm chart's DaemonSet, or the systemd unit
of "oomwitness install --agent".

The agent reports each OOM event by

  log          one line with all victims: the limit, the process, its sizes, pod and
               container; JSON unless on a terminal
  Prometheus   /metrics at --metrics-address
  page         / and /api/v1/events at the same address, unless --page=false. The
               node's own processes and paths are there only with --page-all
  Kubernetes   an Event on the pod, or on the Node for victims in no pod
  OTLP         a log record for each victim, and for each end of a container, to the
               OpenTelemetry collector of --otlp-endpoint

If a limit above the container's limit was the cause, another node may be better for the
pod. For the causes of --mark-causes the agent marks the pod by an annotation or a label
(--victim-annotation, --victim-label) for a descheduler. With --evict the agent evicts the
pod through the Eviction API. Without these flags the agent changes nothing. --dry-run logs
the marks and evictions, and makes none.

Names come from the watched cgroups, from containerd at --address, and from the API server.
The agent asks the API server only for the pods of this node. Without Kubernetes, or while
the API server is away, all the rest works.

The agent's position is a journal in --state-dir. The agent writes an OOM event to the
journal before the report, so a killed agent goes on at its position. The agent counts each
kill once, and after a restart reports the open OOM events to Kubernetes. The ledger keeps
some 4,000 kills while no agent runs. --state-dir also has the pods of these kills, if the
container began while an agent ran and its pod is still there.

The agent needs an oom_score_adj near -1000, and a memory limit of its cgroup above
--memory-limit. With both, the agent outlives the OOM. The unit and the chart set both.`,
		Example: `  oomwitness agent
  oomwitness agent --log-format json --metrics-address '' --kubernetes=false
  oomwitness agent --victim-label example.com/oom=true --mark-causes node --dry-run`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd, f) },
	}
	f.add(cmd.Flags())
	completeAgent(cmd)
	return cmd
}

// completeAgent has the shell complete the flags with a few allowed values.
func completeAgent(cmd *cobra.Command) {
	for flag, values := range map[string][]string{
		"log-level": {"debug", "info", "warning", "error"}, "log-format": {auto, "json", "text"},
		"kubernetes": autoOrBool, "mark-causes": agent.CauseNames(),
	} {
		whycli.CompleteOneOf(cmd, flag, values)
	}
}
