package trace_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/trace"
	"github.com/oomwitness/oomwitness/oom"
)

// keep are the events of a trace.
type keep struct{ events []agent.OOMEvent }

func (*keep) Begin() error { return nil }

func (*keep) Flush() error { return nil }

func (k *keep) Write(e *agent.OOMEvent) error {
	k.events = append(k.events, *e)
	return nil
}

// show traces one record over a tree with a pod's container in it.
func show(t *testing.T, change func(r *bpf.Record, pod, container uint64)) agent.OOMEvent {
	t.Helper()
	mount := t.TempDir()
	names, err := agent.NewNames(agent.NamesOptions{Mount: mount}, func(err error) { t.Error(err) })
	require.NoError(t, err)
	pod := filepath.Join(mount, "kubepods/podabc")
	container := filepath.Join(pod, strings.Repeat("3f", 32))
	require.NoError(t, os.MkdirAll(container, 0o755))
	podID, err := bpf.CgroupID(pod)
	require.NoError(t, err)
	id, err := bpf.CgroupID(container)
	require.NoError(t, err)
	r := victim(1, "java")
	change(&r, podID, id)
	var out keep
	tracer := trace.Tracer{Names: names, Out: &out, Warn: func(err error) { t.Error(err) }}
	require.NoError(t, tracer.Run(t.Context(), []bpf.Record{r}, nil))
	require.Len(t, out.events, 1)
	return out.events[0]
}

func TestEventOfTierA(t *testing.T) {
	page := uint64(os.Getpagesize())
	e := show(t, func(r *bpf.Record, pod, container uint64) {
		r.Flags = bpf.FlagNSInit | bpf.FlagOOMGroup
		r.Tier, r.Constraint, r.Domain, r.Cgroup, r.TotalPages = bpf.TierA, bpf.ConstraintMemcg, pod, container, 16
		r.RSSAnon, r.RSSFile, r.RSSShmem, r.TotalVM, r.PageTables = 1, 2, 3, 4, 5
	})
	require.Equal(t, oom.CausePod, e.Cause)
	require.Equal(t, "A", e.Tier)
	require.True(t, e.First().Init && e.First().OOMGroup && !e.First().SharedMemory)
	require.Equal(t, 6*page, *e.First().Memory.RSS)
	require.Equal(t, 4*page, e.First().Memory.TotalVM)
	require.EqualValues(t, 5, e.First().Memory.PageTables)
	require.Equal(t, "memcg", e.Domain.Constraint)
	require.Equal(t, 16*page, e.Domain.Size)
	require.Equal(t, "/kubepods/podabc", e.Domain.Path)
	require.Equal(t, strings.Repeat("3f", 32), e.First().Container.ID)
	require.Equal(t, "abc", e.First().Pod.UID)
}

func TestEventOfTierC(t *testing.T) {
	e := show(t, func(r *bpf.Record, _, _ uint64) {
		r.Flags |= bpf.FlagNoRSS | bpf.FlagShared
	})
	require.Equal(t, oom.CauseUnknown, e.Cause)
	require.Nil(t, e.Domain)
	require.Nil(t, e.First().Memory.RSS)
	require.True(t, e.First().SharedMemory)
	require.Nil(t, e.First().Container)
	require.Empty(t, e.First().Cgroup.Path)
}
