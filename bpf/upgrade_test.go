package bpf_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// TestUpgrade replaces the ledger while kills happen: by programs of another
// version, another tier and another ABI. None may be lost, none counted twice.
func TestUpgrade(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	steps := []bpf.Options{
		b.opts.As(bpf.ABI, bpf.Version+1),
		withTier(b.opts, bpf.TierC).As(bpf.ABI, bpf.Version+2),
		b.opts.As(bpf.ABI, bpf.Version+3),
	}
	killed, stop := b.keepKilling(t, dir)
	for _, o := range steps {
		st, err := bpf.Load(o)
		require.NoError(t, err)
		require.Len(t, b.generations(t), 1)
		t.Logf("tier %v, version %d", st.Tier, st.Version)
	}
	stop()
	b.checkKilled(t, dir, killed())
}

// TestUpgradeABI is the same with maps of another layout.
func TestUpgradeABI(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	old := b.opts.As(bpf.ABI-1, bpf.Version)
	_, err := bpf.Load(old)
	require.NoError(t, err)
	_, err = bpf.Open(b.opts.Dir)
	require.ErrorIs(t, err, bpf.ErrABI)
	killed, stop := b.keepKilling(t, dir)
	require.Eventually(t, func() bool { return len(killed()) > 3 }, time.Minute, time.Millisecond)
	_, err = bpf.Load(b.opts)
	require.NoError(t, err)
	stop()
	require.Len(t, b.generations(t), 1)
	b.checkKilled(t, dir, killed())
	_, err = bpf.Load(old)
	require.ErrorIs(t, err, bpf.ErrABI, "a later ABI is left alone")
	require.NoError(t, b.open(t).Whole())
}

func withTier(o bpf.Options, tier bpf.Tier) bpf.Options {
	o.Tier = tier
	return o
}

// keepKilling kills processes one after the other until stop is called.
func (b *bench) keepKilling(t *testing.T, dir string) (killed func() []*proc, stop func()) {
	t.Helper()
	var (
		mu   sync.Mutex
		list []*proc
	)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			p := hog(t, dir)
			mu.Lock()
			list = append(list, p)
			mu.Unlock()
		}
	}()
	killed = func() []*proc {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
	return killed, func() { close(end); <-ended }
}

func (b *bench) checkKilled(t *testing.T, dir string, killed []*proc) {
	t.Helper()
	l := b.open(t)
	for _, p := range killed {
		record(t, l, p)
	}
	c := cgroupOf(t, l, dir)
	require.EqualValues(t, len(killed), c.Victims)
	require.EqualValues(t, len(killed), c.Own)
	require.EqualValues(t, len(killed), c.Events)
	t.Logf("%d kills, none lost", len(killed))
}

// TestSourceFollows: a probe goes over to the ledger that takes over, and says
// so when one that knows no past takes its place.
func TestSourceFollows(t *testing.T) {
	c := newContainer(t)
	p, err := c.source.Arm(c.Target())
	require.NoError(t, err)
	c.Kill(t, 1)
	_, err = bpf.Load(c.opts.As(bpf.ABI, bpf.Version+1))
	require.NoError(t, err)
	c.Kill(t, 1)
	ev, err := p.Read()
	require.NoError(t, err)
	require.EqualValues(t, 2, ev.Kills)
	require.NoError(t, bpf.Unload(c.opts.Dir, c.opts.LockDir))
	c.Kill(t, 1)
	again, err := p.Read()
	require.ErrorIs(t, err, bpf.ErrRetired)
	require.Equal(t, oom.No, ev.Sent)
	require.Equal(t, oom.No, ev.Init)
	ev.Sent, ev.Init = oom.Unknown, oom.Unknown // nobody watches any more
	require.Equal(t, ev, again)
	_, err = bpf.Load(c.opts)
	require.NoError(t, err)
	again, err = p.Read()
	require.ErrorIs(t, err, bpf.ErrGap)
	require.Equal(t, ev, again)
	fresh, err := c.source.Arm(c.Target())
	require.NoError(t, err)
	c.Kill(t, 1)
	ev, err = fresh.Read()
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills)
}
