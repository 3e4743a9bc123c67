package trace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
)

func comm(name string) (c bpf.Comm) {
	copy(c[:], name)
	return c
}

// victim returns a record of a PID, that number of seconds after the boot.
func victim(pid uint32, name string) bpf.Record {
	return bpf.Record{
		BootNS: uint64(pid) * 1e9, Seq: uint64(pid), TGID: pid, TID: pid, StartTicks: uint64(pid), Comm: comm(name),
		Cgroup: 77, Tier: bpf.TierC, Flags: bpf.FlagNoControl, Constraint: bpf.ConstraintUnknown,
	}
}

// fake is a ring: it returns records, then its error. Without an error it waits.
type fake struct {
	records []bpf.Record
	bad     int // the number of bad records before them
	err     error
	empty   chan struct{}
}

func (f *fake) Read(ctx context.Context) (bpf.Record, error) {
	switch {
	case f.bad > 0:
		f.bad--
		return bpf.Record{}, fmt.Errorf("%w: 3 bytes", bpf.ErrRecord)
	case len(f.records) > 0:
		r := f.records[0]
		f.records = f.records[1:]
		return r, nil
	case f.err != nil:
		return bpf.Record{}, f.err
	}
	if f.empty != nil {
		close(f.empty)
	}
	<-ctx.Done()
	return bpf.Record{}, ctx.Err()
}

func (f *fake) Close() error { return nil }

// names keeps the PIDs that a trace has shown, in order.
type names struct{ pids []uint32 }

func (*names) Begin() error { return nil }

func (*names) Flush() error { return nil }

func (n *names) Write(e *agent.OOMEvent) error {
	n.pids = append(n.pids, e.First().PID)
	return nil
}

func TestPastThenLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			out      names
			warnings []error
		)
		tracer := trace.Tracer{
			Names: &agent.Names{}, Out: &out, Ahead: time.Millisecond,
			Warn: func(err error) { warnings = append(warnings, err) },
		}
		ctx, interrupt := context.WithCancel(t.Context())
		ring := &fake{bad: 1, records: []bpf.Record{victim(4, "d")}, empty: make(chan struct{})}
		past := []bpf.Record{victim(3, "c"), victim(2, "b"), victim(1, "a")}
		go func() {
			<-ring.empty
			interrupt()
		}()
		require.NoError(t, tracer.Run(ctx, past, ring), "Ctrl-C is no error")
		require.Equal(t, []uint32{1, 2, 3, 4}, out.pids, "in order")
		require.Len(t, warnings, 1)
		require.ErrorIs(t, warnings[0], bpf.ErrRecord)
	})
}

// TestLostRecords: one warning reports the records for which the ring had no room.
func TestLostRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var warnings []string
		asked := 0
		tracer := trace.Tracer{
			Names: &agent.Names{}, Out: &names{}, Ahead: time.Second,
			Warn: func(err error) { warnings = append(warnings, err.Error()) },
			Lost: func() (uint64, bool) {
				asked++
				if asked < 3 {
					return 5, true // from before this trace
				}
				return 7, true
			},
		}
		ctx, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		require.NoError(t, tracer.Run(ctx, nil, &fake{}))
		require.Equal(t, []string{"2 kills are missing here: the ring was full"}, warnings)
	})
}

func TestEndOfTheRing(t *testing.T) {
	tracer := trace.Tracer{Names: &agent.Names{}, Out: &names{}}
	require.NoError(t, tracer.Run(t.Context(), nil, nil))
	err := tracer.Run(t.Context(), nil, &fake{err: bpf.ErrRetired})
	require.ErrorIs(t, err, bpf.ErrRetired)
	full := errors.New("disk full")
	tracer.Out = trace.NewWriter(failing{full}, "json", 0)
	require.ErrorIs(t, tracer.Run(t.Context(), []bpf.Record{victim(1, "a")}, nil), full)
}

// TestNothingShown: if no past kill is shown, the tracer says why, and else says nothing.
func TestNothingShown(t *testing.T) {
	for want, past := range map[string][]bpf.Record{
		"the ledger has no OOM kill":                         nil,
		"the flags leave out the one OOM kill in the ledger": {victim(1, "a")},
		"the flags leave out all 2 OOM kills in the ledger":  {victim(1, "a"), victim(2, "b")},
		"": {victim(1, "a"), victim(3, "c")},
	} {
		var said string
		tracer := trace.Tracer{
			Names: &agent.Names{}, Out: &names{}, Filter: trace.Filter{Comm: "c"}, Warn: func(error) {}, Note: func(text string) { said += text },
		}
		require.NoError(t, tracer.Run(t.Context(), past, nil))
		require.Equal(t, want, said)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestFilters(t *testing.T) {
	node := victim(2, "kworker/0:1")
	node.Flags, node.Constraint = 0, bpf.ConstraintNone
	past := []bpf.Record{victim(1, "java"), node, victim(3, "javac")}
	for i := range past { // the test cannot choose the boot time
		past[i].BootNS += bootNow(t) - 3600e9
	}
	for name, test := range map[string]struct {
		filter trace.Filter
		want   []uint32
	}{
		"all":             {trace.Filter{}, []uint32{1, 2, 3}},
		"cause":           {trace.Filter{Causes: []oom.Cause{oom.CauseNode, oom.CausePod}}, []uint32{2}},
		"comm":            {trace.Filter{Comm: "java*"}, []uint32{1, 3}},
		"exact comm":      {trace.Filter{Comm: "java"}, []uint32{1}},
		"slash in a name": {trace.Filter{Comm: "kw*"}, []uint32{2}},
		"since":           {trace.Filter{After: time.Now().Add(-time.Hour + 1500*time.Millisecond)}, []uint32{2, 3}},
		"container":       {trace.Filter{Container: "3f"}, nil},
		"both":            {trace.Filter{Comm: "java*", Causes: []oom.Cause{oom.CauseNode}}, nil},
	} {
		var out names
		tracer := trace.Tracer{Names: &agent.Names{}, Out: &out, Filter: test.filter}
		require.NoError(t, tracer.Run(t.Context(), past, nil))
		require.Equal(t, test.want, out.pids, name)
	}
	require.ErrorContains(t, trace.Filter{Comm: "[a"}.Check(), `--comm "[a"`)
	_, err := trace.ParseCauses([]string{"node", "host"})
	require.ErrorContains(t, err, `--cause "host": allowed are container, pod, ancestor, node, cpuset, mempolicy, sysrq, unknown`)
}

// bootNow returns CLOCK_BOOTTIME, read from /proc.
func bootNow(t *testing.T) uint64 {
	t.Helper()
	data, err := os.ReadFile("/proc/uptime")
	require.NoError(t, err)
	var seconds float64
	_, err = fmt.Sscan(string(data), &seconds)
	require.NoError(t, err)
	return uint64(seconds * 1e9)
}

// with returns an OOM event with a changed victim.
func with(e agent.OOMEvent, change func(*agent.Victim)) agent.OOMEvent {
	e.Victims = slices.Clone(e.Victims)
	change(e.First())
	return e
}

// samples returns one event of each kind, as the writers get them.
func samples() []agent.OOMEvent {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	rss, part := uint64(64<<20), uint64(32<<20)
	pod := agent.OOMEvent{
		Schema: agenttest.Schema, Time: at, BootNS: 5, Event: 7, Cause: oom.CausePod, Tier: "A",
		Domain:  &agent.Domain{Constraint: "memcg", ID: 11, Path: "/kubepods/pod1", Size: 64 << 20, Points: 17},
		Trigger: agent.Process{PID: 4712, TID: 4713, Comm: "python3"},
		Victims: []agent.Victim{{
			Index: 1, Comm: "java", OOMScoreAdj: -5, Init: true, OOMGroup: true,
			IDs:       agent.IDs{PID: 4711, TID: 4711, StartTicks: 99, UID: 1000},
			Memory:    agent.Memory{RSS: &rss, Anon: &part, File: &part, Shmem: new(uint64), PageTables: 4096, TotalVM: 1 << 30},
			Cgroup:    agent.Cgroup{ID: 12, Path: "/kubepods/pod1/3f2a"},
			Container: &agent.Container{ID: strings.Repeat("3f", 32), Name: "app", Image: "shop:1", Namespace: "k8s.io"},
			Pod:       &agent.Pod{UID: "1", Name: "web-1", Namespace: "shop"},
		}},
	}
	above := with(pod, func(v *agent.Victim) {
		v.Container, v.Pod = &agent.Container{ID: strings.Repeat("3f", 32)}, &agent.Pod{UID: "1"}
	})
	above.Cause, above.Domain = oom.CauseAncestor, &agent.Domain{Constraint: "memcg", ID: 3, Path: "/kubepods", Size: 7 << 30}
	node := agent.OOMEvent{
		Schema: agenttest.Schema, Time: at, Cause: oom.CauseNode, Tier: "B", Domain: &agent.Domain{Constraint: "none", Size: 1000 << 30},
		Victims: []agent.Victim{{
			Comm: "evil\x1b[2J\xff", SharedMemory: true, IDs: agent.IDs{PID: 1 << 22, TID: 1 << 22}, Cgroup: agent.Cgroup{ID: 9, Path: "/user.slice"},
		}},
	}
	ctr := agent.OOMEvent{
		Schema: agenttest.Schema, Time: at, Cause: oom.CauseUnknown, Tier: "C",
		Victims: []agent.Victim{{
			Comm: "sh", IDs: agent.IDs{PID: 5, TID: 5}, Memory: agent.Memory{RSS: new(uint64)},
			Cgroup: agent.Cgroup{ID: 8, Path: "/default/web"}, Container: &agent.Container{ID: "web", Image: "busybox", Namespace: "default"},
		}},
	}
	gone := with(ctr, func(v *agent.Victim) { v.Container, v.Cgroup = nil, agent.Cgroup{ID: 8, Ancestor: "/kubepods/pod1"} })
	lost := with(gone, func(v *agent.Victim) { v.Cgroup.Ancestor = "/" })
	inPod := with(gone, func(v *agent.Victim) { v.Pod = &agent.Pod{UID: "1"} })
	return []agent.OOMEvent{pod, above, node, ctr, gone, lost, inPod}
}

// TestGolden compares the output with a file. UPDATE=1 writes the file.
func TestGolden(t *testing.T) {
	t.Setenv("TZ", "UTC")
	time.Local = time.UTC
	for _, format := range trace.Formats {
		var out bytes.Buffer
		w := trace.NewWriter(&out, format, trace.DefaultColumns)
		require.NoError(t, w.Begin())
		for _, e := range samples() {
			require.NoError(t, w.Write(&e))
		}
		require.NoError(t, w.Flush())
		golden := "testdata/trace." + format
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), out.String())
	}
	require.ErrorIs(t, trace.NewWriter(failing{io.ErrShortWrite}, "text", 80).Begin(), io.ErrShortWrite)
}
