package bpf_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// TestFromABI1 takes over from the ledger that nodes run today, while processes are
// killed: no victim is lost, and none is counted twice. What ABI 1 did not record is
// unknown.
func TestFromABI1(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	bpf.LoadABI1(t, b.opts)
	_, err := bpf.Open(b.opts.Dir)
	require.ErrorIs(t, err, bpf.ErrABI)
	first := hog(t, dir)
	killed, stop := b.keepKilling(t, dir)
	st, err := bpf.Load(b.opts)
	require.NoError(t, err)
	require.True(t, st.Loaded)
	require.EqualValues(t, bpf.ABI, st.ABI)
	stop()
	require.Len(t, b.generations(t), 1)
	b.checkKilled(t, dir, append(killed(), first))
	r := record(t, b.open(t), first)
	require.NotZero(t, r.Flags&bpf.FlagCarried)
	require.Zero(t, r.Depth)

	source := bpf.NewSource(b.opts.Dir, b.h)
	defer source.Close()
	probe, err := source.Arm(oom.Target{ID: "c", Pid: startIdle(t, dir).pid()})
	require.NoError(t, err)
	defer probe.Close()
	hog(t, dir)
	ev, err := probe.Read()
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills, "those of ABI 1 are before Arm")
	require.Len(t, ev.Victims, 1)
}
