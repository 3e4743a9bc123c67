package bpf_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// TestHandle: one Handle outlives the ledgers that it asks: none, one, another of another
// version, none again, and one more.
func TestHandle(t *testing.T) {
	o := testOptions(t)
	h := bpf.NewHandle(o.Dir, o.LockDir)
	defer h.Close()
	absent := func() {
		_, err := h.Meta()
		require.ErrorIs(t, err, bpf.ErrAbsent)
		_, err = h.Records()
		require.ErrorIs(t, err, bpf.ErrAbsent)
		_, ok := h.Parent(1)
		require.False(t, ok)
	}
	inForce := func(o bpf.Options) {
		st, err := bpf.Load(o)
		require.NoError(t, err)
		m, err := h.Meta()
		require.NoError(t, err)
		require.Equal(t, st.Version, m.Version)
		list, err := h.Records()
		require.NoError(t, err)
		require.Empty(t, list)
	}
	absent()
	inForce(o)
	t.Cleanup(func() { require.NoError(t, bpf.Unload(o.Dir, o.LockDir)) })
	inForce(o.As(bpf.ABI, bpf.Version+1))
	require.NoError(t, bpf.Unload(o.Dir, o.LockDir))
	absent()
	inForce(o)
}

// TestHandleRing: the ring has what came after the past, is read on in the ledger that
// takes over, and ends with the ledger's removal.
func TestHandleRing(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	h := bpf.NewHandle(b.opts.Dir, b.opts.LockDir)
	defer h.Close()
	ring, err := h.Ring()
	require.NoError(t, err)
	defer ring.Close()
	_, err = h.Ring()
	require.ErrorIs(t, err, bpf.ErrBusy)
	before := hog(t, dir)
	past, err := ring.Past()
	require.NoError(t, err)
	require.Len(t, past, 1)
	require.EqualValues(t, before.pid(), past[0].TGID)
	for i := range uint32(2) {
		_, err := bpf.Load(b.opts.As(bpf.ABI, bpf.Version+i))
		require.NoError(t, err)
		p := hog(t, dir)
		r, err := ring.Read(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, p.pid(), r.TGID)
	}
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	_, err = ring.Read(t.Context())
	require.ErrorIs(t, err, bpf.ErrAbsent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ring.Read(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
