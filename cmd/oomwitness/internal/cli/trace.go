package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/agent/ledger"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
)

// traceFlags are trace's.
type traceFlags struct {
	pins
	output, container, comm, address string
	kubeletRoots                     []string
	causes                           []string
	since                            time.Duration
	follow                           bool
}

func newTrace() *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show OOM kills: those of the past, and live",
		Long: `Show OOM kills, one victim a line: those that the ledger has written down, oldest
first, and then each as it happens, until Ctrl-C. It needs a ledger (oomwitness
load) and root.

SCOPE is whose limit fired:

  container   the container's own, or one nested in it
  pod         its pod's
  ancestor    a cgroup's above that, such as kubepods; it is named
  node        nobody's: the node's memory was full
  cpuset, mempolicy   the memory of the NUMA nodes that were allowed
  sysrq       an operator's sysrq f
  unknown     tier C does not see it

A process outside containers is seen from its own cgroup. LIMIT is the size of
what was full, memory and swap together. ROLE is init for process 1 of a PID
namespace, as a container's init is, and shared for a process that was killed
since it shares its memory with the one chosen. Containers and pods are named by
their cgroup's path, and by containerd where it answers; a cgroup that was removed
before anybody saw it has but its number, and its pod if there is one.

The past is some 4,000 victims, in any number of calls. The kills to come are read
from the ledger's ring, which one process reads at a time: next to an agent or
another trace use --follow=false.

With -o json one object a line, whose fields stay. Null is for what is not known or
is not so; sizes are in bytes; domain is null in tier C:

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

event numbers the OOM: the victims of a group kill have the same, and their own
index. cgroup.ancestor is the nearest cgroup above one that was removed.`,
		Example: `  oomwitness trace
  oomwitness trace --cause node,ancestor --since 1h
  oomwitness trace --container 3f2a --comm 'java*'
  oomwitness trace --follow=false -o json | jq -r '.pod.name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runTrace(cmd, f) },
	}
	outputFlag(cmd, &f.output)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.causes, "cause", nil, "only kills of these causes, separated by commas")
	flags.StringVar(&f.container, "container", "", "only the container whose ID begins so")
	flags.StringVar(&f.comm, "comm", "", "only victims of this name; a pattern with *, ? and [...]")
	flags.DurationVar(&f.since, "since", 0, "only kills newer than this, such as 90s or 1h; 0 for all")
	flags.BoolVarP(&f.follow, "follow", "f", true, "go on with kills as they happen")
	flags.StringVar(&f.address, "address", containerd.DefaultAddress, "containerd's socket, for names; empty to do without")
	kubeletRootsFlag(flags, &f.kubeletRoots)
	f.add(cmd)
	return cmd
}

// filter checks the flags.
func (f traceFlags) filter() (trace.Filter, error) {
	causes, err := trace.ParseCauses(f.causes)
	filter := trace.Filter{Causes: causes, Container: f.container, Comm: f.comm}
	if f.since < 0 {
		err = errors.Join(err, fmt.Errorf("--since %v: has to be positive", f.since))
	}
	if f.since > 0 {
		filter.After = time.Now().Add(-f.since)
	}
	if f.address != "" {
		err = errors.Join(err, absolute("address", f.address))
	}
	return filter, errors.Join(err, filter.Check(), checkOutput(f.output), f.check())
}

// ahead is how often trace looks which cgroups there are.
const ahead = time.Second

func runTrace(cmd *cobra.Command, f traceFlags) (err error) {
	filter, err := f.filter()
	if err != nil {
		return err
	}
	var live trace.Source
	if f.follow {
		reader, failed := bpf.NewReader(f.dir, f.lockDir)
		if failed != nil {
			return hinted(busy(failed))
		}
		defer closing(reader, &err)
		live = reader
	}
	b := ledger.New(f.dir, f.lockDir)
	defer b.Close()
	past, err := b.Records()
	if err != nil {
		return hinted(err)
	}
	kubelet, err := cgroups.NewKubelet(f.kubeletRoots)
	if err != nil {
		return flagError("kubelet-cgroup-root", err)
	}
	names := containers.New(f.address)
	defer closing(names, &err)
	stderr := sticky{w: cmd.ErrOrStderr()}
	tracer := trace.Tracer{
		Tree: &cgroups.Tree{Parent: b.Parent, Kubelet: kubelet}, Containers: names, Filter: filter,
		Out: trace.NewWriter(cmd.OutOrStdout(), f.output), Ahead: ahead, Lost: func() (uint64, bool) { m, err := b.Meta(); return m.LostRing, err == nil },
		Warn: func(err error) { stderr.printf("warning: %v\n", err) },
	}
	h, err := oom.FindHierarchy()
	if err != nil {
		tracer.Warn(err) // cgroups go by their numbers then
	}
	tracer.Tree.Mount = h.Mount
	if m, err := b.Meta(); err == nil && f.follow && f.output == "text" {
		stderr.printf("tier %v in force; kills follow as they happen, Ctrl-C ends\n", m.Tier)
	}
	return ended(tracer.Run(cmd.Context(), past, live))
}

// closing adds the error of a Close to that of the function that defers it.
func closing(c io.Closer, err *error) { *err = errors.Join(*err, c.Close()) }

// busy says who may be at the ring.
func busy(err error) error {
	if !errors.Is(err, bpf.ErrBusy) {
		return err
	}
	return fmt.Errorf("the agent or another trace follows the kills already: "+
		"end it, or use --follow=false for what is written down: %w", err)
}

// ended puts a Read's end in the operator's words.
func ended(err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, bpf.ErrRetired):
		return fmt.Errorf("the ledger was unloaded: %w", err)
	}
	return err
}
