package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
	whycli "github.com/oomwitness/oomwitness/why/cli"
)

// traceFlags are the flags of trace.
type traceFlags struct {
	pins
	output, container, comm, pod, namespace string
	since, address, agent                   string
	kubelet                                 kubeletFlags
	causes                                  []string
	wide, follow                            bool
}

func newTrace() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show OOM kills, past and live",
		Long: `Show the processes that the OOM killer has ended. trace prints the past kills, oldest first,
and then each kill as it happens, until Ctrl-C. Each kill is a line. trace needs a ledger
(oomwitness load) and root.

The first column names the victim's pod as namespace/pod/container, else the container, the
systemd unit or the cgroup. CAUSE is whose limit was exceeded:

  container   the container's own limit, or one nested in the container
  pod         the pod's limit
  ancestor    the limit of a cgroup above the pod, such as kubepods
  node        no limit: the node's memory was full
  cpuset, mempolicy   the memory of the NUMA nodes that were allowed
  sysrq       an operator's sysrq f
  unknown     the ledger has tier C, which does not see the limit

VICTIM is the process with its PID, MEMORY the memory that the process had. The title of TIME
has the time zone, which is this machine's; TZ=UTC in the environment selects another.

--since takes how long ago, such as 90s, 12h, 1d or 1d12h, a time such as
2026-01-02T15:04:05Z or 2026-01-02T15:04:05+02:00, and 0 for all. If the flags leave out all
past kills, a line on the standard error says so.

The table fits the terminal, and 80 columns if the output is no terminal. A long name loses
its middle, and … stands there: select pods by --pod, not by grep. -o wide cuts nothing, and
adds columns:

  LIMIT     the size of the full memory, memory and swap together
  ROLE      init for process 1 of a PID namespace, such as a container's init; shared
            for a process that shares its memory with the chosen victim
  TIER      the tier of the ledger
  LIMIT OF  the cgroup of the exceeded limit
  IMAGE, CONTAINER ID and CGROUP

Names come from the cgroup's path and from containerd. The agent on the node still knows the
names of a removed cgroup: trace asks the agent, for 1 s at most. If nobody knows a name, the
first column has (removed).

The past is some 4,000 victims. trace reads new kills from the ledger's ring. One process
reads the ring at a time: beside an agent or another trace use --follow=false.

With -o json each line is an object with stable fields. Null means not known, or not so.
Sizes are in bytes. domain is null in tier C:

  {"schema":1,"time":"2026-01-02T03:04:05.678Z","boot_ns":1,"event":7,"index":0,
   "cause":"pod","tier":"A",
   "victim":{"pid":1,"tid":1,"comm":"java","start_ticks":1,"uid":0,"oom_score_adj":0,
     "init":true,"shared_memory":false,"oom_group":false},
   "memory":{"rss_bytes":1,"anon_bytes":1,"file_bytes":0,"shmem_bytes":0,
     "page_tables_bytes":1,"total_vm_bytes":1},
   "cgroup":{"id":1,"path":"/kubepods/..."},
   "domain":{"constraint":"memcg","id":1,"path":"/kubepods/...","size_bytes":1,
     "order":0,"points":1},
   "trigger":{"pid":1,"tid":1,"comm":"java"},
   "container":{"id":"...","name":"app","image":"...","namespace":"k8s.io"},
   "pod":{"uid":"...","name":"web-1","namespace":"default"}}

event is the number of the OOM event: the victims of a group kill have the same number, and
an index each. cgroup.ancestor is the nearest cgroup above a removed cgroup. unit is the
systemd unit of a removed cgroup, if the agent knows the unit.`,
		Example: `  # What was killed in the namespace shop since yesterday
  oomwitness trace --follow=false --namespace shop --since 1d

  # Each kill of the pods of one workload, with everything that is known, as it happens
  oomwitness trace --pod 'web-*' -o wide`,
		Args: whycli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTrace(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.output, "output", "o", "text", "output format: "+strings.Join(trace.Formats, ", "))
	flags.BoolVar(&f.wide, "wide", false, "the same as -o wide: all columns, and no name is cut")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "only kills in pods of this namespace; a name or a pattern with *, ? and [...]")
	flags.StringVar(&f.pod, "pod", "", "only kills in the pod of this name; a name or a pattern with *, ? and [...]")
	flags.StringVar(&f.container, "container", "", "only the container whose ID begins so")
	flags.StringVar(&f.comm, "comm", "", "only victims of this name; a pattern with *, ? and [...]")
	flags.StringSliceVar(&f.causes, "cause", nil, "only kills of these causes, separated by commas")
	flags.StringVar(&f.since, "since", "", "only later kills: how long ago, such as 90s, 12h or 1d, or a time such as 2026-01-02T15:04:05Z (default: all)")
	flags.BoolVarP(&f.follow, "follow", "f", true, "go on with kills as they happen")
	flags.StringVar(&f.address, "address", containerd.DefaultAddress, "containerd's socket, for names; empty to do without")
	flags.StringVar(&f.agent, "agent", metricsOnNode, "host:port of the agent's API, for names of removed cgroups; empty to do without")
	f.kubelet.add(flags)
	f.add(cmd)
	whycli.CompleteOneOf(cmd, "output", trace.Formats)
	whycli.CompleteOneOf(cmd, "cause", agent.CauseNames())
	return cmd
}

// filter returns the filter by the flags, which it checks.
func (f *traceFlags) filter(flags *pflag.FlagSet) (trace.Filter, error) {
	causes, err := trace.ParseCauses(f.causes)
	filter := trace.Filter{Causes: causes, Container: f.container, Comm: f.comm, Pod: f.pod, Namespace: f.namespace}
	after, failed := whycli.ParseSince(f.since, time.Now())
	filter.After = after
	if failed != nil {
		failed = fmt.Errorf("--since %q: %w", f.since, failed)
	}
	errs := []error{err, failed, filter.Check(), whycli.OneOf("output", f.output, trace.Formats...), f.check(), f.kubelet.check()}
	for _, name := range []string{"pod", "namespace", "since", "container", "comm"} {
		if flag := flags.Lookup(name); flag.Changed && flag.Value.String() == "" {
			errs = append(errs, fmt.Errorf("--%s %q: is empty; leave the flag out for all", name, ""))
		}
	}
	if flag := flags.Lookup("cause"); flag.Changed && len(f.causes) == 0 {
		errs = append(errs, whycli.OneOf("cause", "", agent.CauseNames()...))
	}
	if f.container != "" && !isName(f.container) {
		errs = append(errs, fmt.Errorf("--container %q: allowed is the beginning of a container's ID", f.container))
	}
	if f.address != "" {
		errs = append(errs, absolute("address", f.address))
	}
	if f.agent != "" {
		errs = append(errs, hostPort("agent", f.agent, metricsOnNode))
	}
	if f.wide && f.output == "json" {
		errs = append(errs, fmt.Errorf("--wide with --output %q: allowed is one of them", f.output))
	}
	if f.wide {
		f.output = "wide"
	}
	return filter, errors.Join(errs...)
}

// agentNames returns a source of names from the agent on this node, nil for none. If no agent
// is at the default address, there is no warning.
func (f *traceFlags) agentNames(flags *pflag.FlagSet, warn func(error)) *trace.AgentNames {
	if f.agent == "" {
		return nil
	}
	boot, err := oom.BootID()
	if err != nil {
		warn(err)
		return nil
	}
	names := &trace.AgentNames{Address: f.agent, Boot: boot}
	if flags.Changed("agent") {
		names.Warn = warn
	}
	return names
}

// ahead is the time between two readings of the node's cgroups.
const ahead = time.Second

func runTrace(cmd *cobra.Command, f traceFlags) (err error) {
	filter, err := f.filter(cmd.Flags())
	if err != nil {
		return err
	}
	var live trace.Source
	b := bpf.NewHandle(f.dir, f.lockDir)
	defer b.Close()
	records := b.Records
	if f.follow {
		ring, failed := b.Ring()
		if failed != nil {
			return withAdvice(busy(failed))
		}
		defer closing(ring, &err)
		live, records = ring, ring.Past
	}
	past, err := records()
	if err != nil {
		return withAdvice(err)
	}
	stderr := cmd.ErrOrStderr()
	warn := func(err error) { fmt.Fprintf(stderr, "warning: %v\n", err) }
	h, err := oom.FindHierarchy()
	if err != nil {
		warn(err) // cgroups then have numbers instead of names
	}
	if _, err := os.Stat(f.address); f.address != "" && err != nil {
		warn(fmt.Errorf("names of containers come from the cgroups' paths alone, without containerd: --address %q: %w", f.address, errors.Unwrap(err)))
	}
	names, err := agent.NewNames(agent.NamesOptions{
		Mount: h.Mount, Parent: b.Parent, Kubelet: f.kubelet.options(), Containerd: f.address,
	}, warn)
	if err != nil {
		return flagError("kubelet-cgroup-root", err)
	}
	defer closing(names, &err)
	tracer := trace.Tracer{
		Names: names, Filter: filter,
		Agent: f.agentNames(cmd.Flags(), warn), Out: trace.NewWriter(cmd.OutOrStdout(), f.output, whycli.Columns(cmd.OutOrStdout())),
		Ahead: ahead, Lost: func() (uint64, bool) { m, err := b.Meta(); return m.LostRing, err == nil }, Warn: warn,
	}
	f.announce(&tracer, b, stderr)
	return ended(tracer.Run(cmd.Context(), past, live))
}

// announce says beside the output what trace waits for, and has the tracer say that no past
// kill is shown. A program that follows the JSON form gets neither.
func (f *traceFlags) announce(tracer *trace.Tracer, b *bpf.Handle, stderr io.Writer) {
	if f.follow && f.output == "json" {
		return
	}
	tracer.Note = func(text string) { fmt.Fprintln(stderr, text) }
	if m, err := b.Meta(); err == nil && f.follow {
		fmt.Fprintf(stderr, "tier %v in force; kills follow as they happen, Ctrl-C ends\n", m.Tier)
	}
}

// closing adds the error of a Close to the error of the function that defers closing.
func closing(c io.Closer, err *error) { *err = errors.Join(*err, c.Close()) }

// busy adds who may be reading the ring.
func busy(err error) error {
	if !errors.Is(err, bpf.ErrBusy) {
		return err
	}
	return fmt.Errorf("the agent or another trace follows the kills already: "+
		"end it, or use --follow=false for what is written down: %w", err)
}

// ended returns the error of a Read in the operator's words.
func ended(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, bpf.ErrRetired):
		return fmt.Errorf("the ledger was unloaded: %w", err)
	}
	return err
}
