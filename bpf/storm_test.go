package bpf_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// TestStorm has 200 processes run into 200 limits at once.
func TestStorm(t *testing.T) {
	const many = 200
	b := newBench(t)
	procs, own := make([]*proc, many), map[uint64]bool{}
	for i := range procs {
		dir := b.cgroup(t, strconv.Itoa(i), 4<<20)
		id, err := bpf.CgroupID(dir)
		require.NoError(t, err)
		own[id] = true
		// At its limit in no time: nothing is executed.
		procs[i] = startCommand(t, dir, exec.Command("sh", "-c", "read go; x=0123456789; while :; do x=$x$x; done"))
	}
	r, err := bpf.NewReader(b.opts.Dir, b.opts.LockDir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	l := b.open(t)
	for _, p := range procs {
		require.NoError(t, p.in.Close())
	}
	first, last := uint64(math.MaxUint64), uint64(0)
	for _, p := range procs {
		p.killed(t)
		at := record(t, l, p).BootNS
		first, last = min(first, at), max(last, at)
	}
	took := time.Duration(last - first)
	seqs := map[uint64]bool{}
	for n := 0; n < many; {
		rec, err := r.Read(t.Context())
		require.NoError(t, err)
		if own[rec.Cgroup] {
			seqs[rec.Seq] = true
			n++
		}
	}
	require.Len(t, seqs, many)
	for i := range procs {
		b.checkCounted(t, l, filepath.Join(b.parent, strconv.Itoa(i)))
	}
	m, err := l.Meta()
	require.NoError(t, err)
	require.GreaterOrEqual(t, m.Victims, uint64(many))
	require.Zero(t, m.LostRing+m.LostTask+m.LostCgroup)
	c := cgroupOf(t, l, b.parent)
	require.EqualValues(t, many, c.Victims)
	require.EqualValues(t, many, c.Events)
	require.Zero(t, c.Own)
	t.Logf("metric=ledger-storm tier=%v kills=%d ms=%d", b.status.Tier, many, took.Milliseconds())
}

// checkCounted compares what the ledger and the kernel itself have counted in a
// cgroup, and shows the records where they differ.
func (b *bench) checkCounted(t *testing.T, l *bpf.Ledger, dir string) {
	t.Helper()
	c := cgroupOf(t, l, dir)
	if kernel := b.kernelCount(t, dir); c.Own != kernel {
		all, err := l.Records()
		require.NoError(t, err)
		for _, r := range all {
			if r.Cgroup == c.ID {
				t.Logf("%+v", r)
			}
		}
		m, err := l.Meta()
		require.NoError(t, err)
		t.Fatalf("%s: the kernel counts %d victims, the ledger %+v, %+v", dir, kernel, c, m)
	}
}

// kernelCount is the kernel's own count of a cgroup's victims.
func (b *bench) kernelCount(t *testing.T, dir string) uint64 {
	t.Helper()
	file := map[int]string{1: "memory.oom_control", 2: "memory.events.local"}[b.h.Version]
	data, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	fields := lines(data)
	at := slices.Index(fields, "oom_kill")
	require.GreaterOrEqual(t, at, 0, "%s", data)
	n, err := strconv.ParseUint(fields[at+1], 10, 64)
	require.NoError(t, err)
	return n
}
