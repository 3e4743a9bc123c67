package bpf_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestCost reads the kernel's own account of what the programs cost.
func TestCost(t *testing.T) {
	b := newBench(t)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	require.NoError(t, err)
	defer stats.Close()
	dir := b.cgroup(t, "c", 8<<20)
	const kills = 50
	for range kills {
		hog(t, dir)
	}
	pins, err := filepath.Glob(filepath.Join(b.opts.Dir, "current", "link_*"))
	require.NoError(t, err)
	require.NotEmpty(t, pins)
	var total time.Duration
	for _, pin := range pins {
		s := statsOf(t, pin)
		total += s.Runtime
		t.Logf("%-24s %5d runs, %8v", filepath.Base(pin), s.RunCount, s.Runtime)
	}
	t.Logf("tier %v: %v for each of %d kills, all other signals included", b.status.Tier, total/kills, kills)
}

// statsOf gives those of the program behind a pinned link.
func statsOf(t *testing.T, pin string) *ebpf.ProgramStats {
	t.Helper()
	l, err := link.LoadPinnedLink(pin, nil)
	require.NoError(t, err)
	defer l.Close()
	info, err := l.Info()
	require.NoError(t, err)
	p, err := ebpf.NewProgramFromID(info.Program)
	require.NoError(t, err)
	defer p.Close()
	s, err := p.Stats()
	require.NoError(t, err)
	return s
}
