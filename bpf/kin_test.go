package bpf_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// The shell's part in these tests: a worker that takes memory until it is killed, before
// anything else in the cgroup.
const worker = "(echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero)"

// kin is a container whose processes the test distinguishes.
type kin struct {
	*bench
	dir    string
	source *bpf.Source
}

func newKin(t *testing.T) *kin {
	t.Helper()
	k := &kin{bench: newBench(t)}
	k.dir = k.cgroup(t, "c", 2*oomtest.RealLimit)
	k.source = bpf.NewSource(k.opts.Dir, k.h)
	t.Cleanup(func() { require.NoError(t, k.source.Close()) })
	return k
}

// run starts a shell in the container's cgroup that waits for its stdin.
func (k *kin) run(t *testing.T, script string, flags uintptr) *proc {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read go; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return startCommand(t, k.dir, cmd)
}

func (k *kin) arm(t *testing.T, p *proc) oom.Probe {
	t.Helper()
	probe, err := k.source.Arm(oom.Target{ID: "c", Pid: p.pid()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, probe.Close()) })
	return probe
}

// joinNamespace has f run in a thread whose children are in a process's PID namespace.
func joinNamespace(t *testing.T, pid int, f func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWPID)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	require.NoError(t, <-done)
}

// lineages reads the lineages of a probe's victims, oldest first.
func lineages(t *testing.T, p oom.Probe) (list []oom.Lineage) {
	t.Helper()
	ev, err := p.Read()
	require.NoError(t, err)
	require.Len(t, ev.Victims, int(ev.Kills))
	for _, v := range ev.Victims {
		require.NotZero(t, v.Seq)
		list = append(list, v.Lineage)
	}
	return list
}

// TestAncestors looks at the ancestors of a victim in the record.
func TestAncestors(t *testing.T) {
	k := newKin(t)
	p := k.run(t, "sh -c '"+worker+"; true'; true", 0)
	require.NoError(t, p.in.Close())
	require.NoError(t, p.cmd.Wait())
	l := k.open(t)
	c := cgroupOf(t, l, k.dir)
	r, ok, err := l.Task(c.Last.TGID, c.Last.StartTicks)
	require.NoError(t, err)
	require.True(t, ok)
	require.Greater(t, r.Depth, uint32(3))
	self, err := bpf.StartTicks(os.Getpid())
	require.NoError(t, err)
	var pids []uint32
	for _, a := range r.Ancestors[:r.Depth] {
		pids = append(pids, a.TGID)
		if a.TGID == uint32(os.Getpid()) {
			require.EqualValues(t, self, a.StartLow)
		}
		if a.TGID == uint32(p.pid()) {
			require.EqualValues(t, p.ticks, a.StartLow)
		}
	}
	require.Equal(t, []uint32{uint32(p.pid()), uint32(os.Getpid())}, pids[1:3], "%v", pids)
	if r.Flags&bpf.FlagLineageCut == 0 {
		require.EqualValues(t, 1, pids[len(pids)-1])
	}
}

// TestManyAncestors: more than there is room for are cut off.
func TestManyAncestors(t *testing.T) {
	k := newKin(t)
	p := k.run(t, strings.Repeat("(", 15)+worker+strings.Repeat("; true)", 15)+"; true", 0)
	probe := k.arm(t, p)
	require.NoError(t, p.in.Close())
	require.NoError(t, p.cmd.Wait())
	require.Equal(t, []oom.Lineage{oom.LineageUnknown}, lineages(t, probe))
	l := k.open(t)
	c := cgroupOf(t, l, k.dir)
	require.NotZero(t, c.Last.Flags&bpf.FlagLineageCut)
}

// step lets a shell read one line.
func (p *proc) step(t *testing.T) {
	t.Helper()
	_, err := p.in.Write([]byte("\n"))
	require.NoError(t, err)
}

// next waits for the next victim of a probe and returns its lineage.
func (k *kin) next(t *testing.T, p oom.Probe, kills int) oom.Lineage {
	t.Helper()
	require.Eventually(t, func() bool {
		ev, err := p.Read()
		return err == nil && len(ev.Victims) >= kills
	}, time.Minute, time.Millisecond)
	list := lineages(t, p)
	require.Len(t, list, kills)
	return list[kills-1]
}

// TestLineages kills processes of each kind in a container with a PID namespace of its
// own. The test is the shim.
func TestLineages(t *testing.T) {
	k := newKin(t)
	init := k.run(t, worker+"; read go; ("+worker+" & true); read go; echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero", unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	init.step(t)
	require.Equal(t, oom.LineageDescendant, k.next(t, probe, 1), "a child")

	var parent, direct *proc
	joinNamespace(t, init.pid(), func() {
		parent = k.run(t, worker+"; true", 0)
		direct = k.run(t, "echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero", 0)
	})
	parent.step(t)
	require.Equal(t, oom.LineageExec, k.next(t, probe, 2), "the child of an exec'd process")
	require.NoError(t, parent.cmd.Wait()) // or process 1 would wait for it
	direct.step(t)
	direct.killed(t)
	require.Equal(t, oom.LineageExec, k.next(t, probe, 3), "an exec'd process")

	init.step(t)
	require.Equal(t, oom.LineageDescendant, k.next(t, probe, 4), "an orphan, which is init's child")

	init.step(t)
	init.killed(t)
	require.Equal(t, oom.LineageInit, k.next(t, probe, 5))
}

// TestSharedNamespace kills in a container that shares its PID namespace with another,
// whose process 1 gets the orphans of both.
func TestSharedNamespace(t *testing.T) {
	k := newKin(t)
	pause := startCommand(t, "", pauseCommand())
	var init, other *proc
	joinNamespace(t, pause.pid(), func() {
		init = k.run(t, "sh -c '"+worker+"; true'; read go; ("+worker+" & true); read go", 0)
		other = k.run(t, worker+"; true", 0)
	})
	probe := k.arm(t, init)
	init.step(t)
	require.Equal(t, oom.LineageDescendant, k.next(t, probe, 1))
	other.step(t)
	require.Equal(t, oom.LineageExec, k.next(t, probe, 2))
	init.step(t)
	require.Equal(t, oom.LineageUnknown, k.next(t, probe, 3), "an orphan")
}

func pauseCommand() *exec.Cmd {
	pause := exec.Command("sleep", "600")
	pause.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	return pause
}

// TestNodeNamespace kills in a container in the node's PID namespace, where the shim is
// the parent of orphans too.
func TestNodeNamespace(t *testing.T) {
	k := newKin(t)
	init := k.run(t, worker+"; read go", 0)
	probe := k.arm(t, init)
	init.step(t)
	require.Equal(t, oom.LineageDescendant, k.next(t, probe, 1))
	direct := k.run(t, "echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero", 0)
	direct.step(t)
	direct.killed(t)
	require.Equal(t, oom.LineageUnknown, k.next(t, probe, 2))
}
