package bpf_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// TestSourceConforms runs the suite of all evidence sources.
func TestSourceConforms(t *testing.T) {
	oomtest.Run(t, func(t *testing.T) oomtest.Fixture { return newContainer(t) })
}

// container is one as the kernel sees it: a limited cgroup with an idle init,
// and a sibling beside it.
type container struct {
	*bench
	dir, sib string
	init     *proc
	source   *bpf.Source
}

func newContainer(t *testing.T) *container {
	t.Helper()
	c := &container{bench: newBench(t)}
	c.dir = c.cgroup(t, "c", oomtest.RealLimit)
	c.sib = c.cgroup(t, "other", oomtest.RealLimit)
	c.init = startHog(t, c.dir)
	c.source = bpf.NewSource(c.opts.Dir, c.h)
	t.Cleanup(func() { require.NoError(t, c.source.Close()) })
	return c
}

func (c *container) Source() oom.Source { return c.source }

func (c *container) Target() oom.Target { return oom.Target{ID: "c", Pid: c.init.pid()} }

func (c *container) Kill(t *testing.T, n int) {
	t.Helper()
	for range n {
		hog(t, c.dir)
	}
}

func (c *container) KillOther(t *testing.T) { hog(t, c.sib) }

func (c *container) Remove(t *testing.T) {
	t.Helper()
	_ = c.init.cmd.Process.Kill()
	_ = c.init.cmd.Wait()
	oomtest.RemoveCgroup(t, c.dir)
}

func (c *container) Spoil(t *testing.T) bool {
	t.Helper()
	require.NoError(t, bpf.Unload(c.opts.Dir, c.opts.LockDir))
	return true
}

// TestInitKilled asks of a container whose init was killed.
func TestInitKilled(t *testing.T) {
	c := newContainer(t)
	target := c.Target()
	target.Pod = true
	p, err := c.source.Arm(target)
	require.NoError(t, err)
	c.init.prefer(t, 1000)
	require.NoError(t, c.init.in.Close())
	c.init.killed(t)
	ev, err := p.Read()
	require.NoError(t, err)
	t.Logf("tier %v, cgroup v%d: %+v", c.status.Tier, c.h.Version, ev)
	require.Equal(t, oom.Yes, ev.Init)
	require.EqualValues(t, 1, ev.Kills)
	if c.status.Tier != bpf.TierC {
		require.Equal(t, oom.CauseContainer, ev.Cause)
	}
	l := c.open(t)
	r, ok, err := l.Task(uint32(c.init.pid()), c.init.ticks)
	require.NoError(t, err)
	require.True(t, ok)
	t.Logf("%+v", r)
	t.Logf("refused: %v", c.status.Refused)
	m, err := l.Meta()
	require.NoError(t, err)
	t.Logf("%+v", m)
}

// TestBestTier: unforced, the kernel's best tier is chosen. BEST says which that
// must be, where the test's caller knows.
func TestBestTier(t *testing.T) {
	b := newBench(t)
	t.Logf("tier %v chosen, refused %v", b.status.Tier, b.status.Refused)
	if forced := forcedTier(t); forced != bpf.TierAuto {
		require.Equal(t, forced, b.status.Tier)
		return
	}
	for _, r := range b.status.Refused {
		require.Less(t, r.Tier, b.status.Tier)
		require.Error(t, bpf.Trial(r.Tier))
	}
	require.NoError(t, bpf.Trial(b.status.Tier))
	if best := os.Getenv("BEST"); best != "" {
		require.Equal(t, best, b.status.Tier.String())
	}
}

// TestRefusedTier: what a tier is refused for, where the test's caller knows that
// this kernel refuses it: REFUSED_B is a part of tier B's error.
func TestRefusedTier(t *testing.T) {
	needRoot(t)
	want := os.Getenv("REFUSED_B")
	if want == "" {
		t.Skip("needs a kernel that refuses tier B: REFUSED_B=part of the error")
	}
	require.ErrorContains(t, bpf.Trial(bpf.TierB), want)
	o := testOptions(t)
	o.Tier = bpf.TierB
	_, err := bpf.Load(o)
	require.ErrorContains(t, err, want)
	_, err = bpf.Open(o.Dir)
	require.ErrorIs(t, err, bpf.ErrAbsent, "nothing is left of it")
}
