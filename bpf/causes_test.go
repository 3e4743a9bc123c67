package bpf_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// TestCauses asks for the cause of kills by limits at all levels.
func TestCauses(t *testing.T) {
	for want, c := range map[oom.Cause]struct{ pods, pod, container, nested int64 }{
		oom.CauseContainer: {0, 0, oomtest.RealLimit, 0},
		oom.CausePod:       {0, oomtest.RealLimit, 0, 0},
		oom.CauseAncestor:  {oomtest.RealLimit, 0, 0, 0},
	} {
		t.Run(string(want), func(t *testing.T) {
			b := newBench(t)
			b.cgroup(t, "pods", c.pods)
			b.cgroup(t, "pods/pod", c.pod)
			dir := b.cgroup(t, "pods/pod/c", c.container)
			b.checkCause(t, dir, dir, want)
		})
	}
	t.Run("nested", func(t *testing.T) {
		b := newBench(t)
		dir := b.cgroup(t, "c", 2*oomtest.RealLimit)
		init := startIdle(t, b.cgroup(t, "c/init", 0))
		nested := b.cgroup(t, "c/nested", oomtest.RealLimit)
		_ = init
		b.checkCause(t, dir, nested, oom.CauseContainer)
	})
}

// checkCause kills in a cgroup, and asks a container's probe.
func (b *bench) checkCause(t *testing.T, dir, kill string, want oom.Cause) {
	t.Helper()
	if b.status.Tier == bpf.TierC && (b.h.Version == 1 || dir != kill) {
		want = oom.CauseUnknown
	}
	var init *proc
	if dir == kill {
		init = startIdle(t, dir)
	} else {
		init = startIdle(t, "")
		oomtest.Join(t, filepath.Join(dir, "init"), init.pid())
	}
	source := bpf.NewSource(b.opts.Dir, b.h)
	defer source.Close()
	probe, err := source.Arm(oom.Target{ID: "c", Pid: init.pid(), Pod: dir == kill})
	require.NoError(t, err)
	defer probe.Close()
	hog(t, kill)
	ev, err := probe.Read()
	require.NoError(t, err)
	if dir == kill {
		require.EqualValues(t, 1, ev.Kills)
		require.Equal(t, want, ev.Cause)
		require.Equal(t, oom.No, ev.Init)
	}
	c := cgroupOf(t, b.open(t), dir)
	require.EqualValues(t, 1, c.Victims)
}
