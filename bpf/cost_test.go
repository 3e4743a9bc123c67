package bpf_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
)

// cost is the kernel's own account of some programs' runs.
type cost struct {
	runs uint64
	time time.Duration
}

func (c cost) minus(o cost) cost { return cost{c.runs - o.runs, c.time - o.time} }

func (c cost) each() int64 { return c.time.Nanoseconds() / max(1, int64(c.runs)) }

// TestCost has the kernel measure the programs: at kills, at other signals, and
// beside work that kills nobody. BENCH_KILLS is how many.
func TestCost(t *testing.T) {
	b := newBench(t)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	require.NoError(t, err)
	defer stats.Close()
	dir := b.cgroup(t, "c", 8<<20)
	n := number(t, "BENCH_KILLS", 20)
	tier := b.status.Tier

	other := b.costOf(t, func() {
		for range 100 * n {
			require.NoError(t, unix.Kill(unix.Getpid(), unix.SIGCONT))
		}
	})["signal_generate"]
	require.GreaterOrEqual(t, other.runs, uint64(100*n))
	t.Logf("metric=ledger-ns-per-signal tier=%v signal=other runs=%d ns=%d", tier, other.runs, other.each())

	idle := b.costWith(t, 0, func() {
		for range n {
			require.NoError(t, exec.Command("true").Run())
			b.killWatched(t)
		}
	})
	for name, c := range idle {
		t.Logf("metric=ledger-idle tier=%v program=%s processes=%d runs=%d ns=%d", tier, name, 2*n, c.runs, c.time.Nanoseconds())
		if name != "signal_generate" {
			require.Zero(t, c.runs, "%s ran while the OOM killer did not", name)
		}
	}

	// A SIGKILL to an init that is watched, less the other signals that come with it.
	sigkill := idle["signal_generate"]
	alone := sigkill.time - time.Duration(int64(sigkill.runs)-int64(n))*time.Duration(other.each())
	t.Logf("metric=ledger-ns-per-signal tier=%v signal=SIGKILL runs=%d ns=%d", tier, n, alone.Nanoseconds()/int64(n))

	// What is not the OOM killer's in it is taken off, by what it costs alone.
	var total time.Duration
	costs := b.costWith(t, uint64(n), func() {
		for range n {
			hog(t, dir)
		}
	})
	for name, c := range costs {
		t.Logf("metric=ledger-runs tier=%v kills=%d program=%s runs=%d ns=%d", tier, n, name, c.runs, c.time.Nanoseconds())
		if strings.HasPrefix(name, "signal_generate") {
			c.time -= time.Duration(int64(c.runs)-int64(n)) * time.Duration(other.each())
		} else {
			require.GreaterOrEqual(t, c.runs, uint64(n), name)
		}
		total += c.time
	}
	t.Logf("metric=ledger-ns-per-kill tier=%v kills=%d ns=%d", tier, n, total.Nanoseconds()/int64(n))
}

// killWatched sends a SIGKILL to process 1 of a PID namespace, as a runtime does, so that
// the sender is written down.
func (b *bench) killWatched(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	require.NoError(t, cmd.Start())
	ticks, err := bpf.StartTicks(cmd.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	l, err := bpf.Open(b.opts.Dir)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Forget(bpf.TaskKey{TGID: uint32(cmd.Process.Pid), StartTicks: ticks}))
}

// costWith is costOf for work with so many kills: the ledger sees all of its
// machine, and where others were killed as well the work is done again.
func (b *bench) costWith(t *testing.T, kills uint64, work func()) map[string]cost {
	t.Helper()
	l := b.open(t)
	for range 20 {
		before, err := l.Meta()
		require.NoError(t, err)
		costs := b.costOf(t, work)
		after, err := l.Meta()
		require.NoError(t, err)
		if after.Victims-before.Victims == kills && after.Marked-before.Marked == kills {
			return costs
		}
	}
	t.Fatal("others on this machine are being killed all the time")
	return nil
}

// costOf returns what f costs in each of the ledger's programs, by name.
func (b *bench) costOf(t *testing.T, f func()) map[string]cost {
	t.Helper()
	before := b.costs(t)
	f()
	after := b.costs(t)
	for name := range after {
		after[name] = after[name].minus(before[name])
	}
	return after
}

func (b *bench) costs(t *testing.T) map[string]cost {
	t.Helper()
	pins, err := filepath.Glob(filepath.Join(b.opts.Dir, "current", "link_*"))
	require.NoError(t, err)
	require.NotEmpty(t, pins)
	all := map[string]cost{}
	for _, pin := range pins {
		s := statsOf(t, pin)
		all[strings.TrimPrefix(filepath.Base(pin), "link_")] = cost{s.RunCount, s.Runtime}
	}
	return all
}

// statsOf returns those of the program behind a pinned link.
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
