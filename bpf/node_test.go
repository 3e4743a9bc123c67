package bpf_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Where the whole machine is the test's: OOM_NODE=1 in the guest.
func needGuest(t *testing.T) {
	t.Helper()
	if os.Getenv("OOM_NODE") == "" {
		t.Skip("needs a machine of its own, as the node VM is: OOM_NODE=1")
	}
}

// needTwoNodes skips where there is no second NUMA node to run out of memory.
func needTwoNodes(t *testing.T) {
	t.Helper()
	needGuest(t)
	nodes, err := os.ReadFile("/sys/devices/system/node/has_memory")
	if err != nil || string(bytes.TrimSpace(nodes)) != "0-1" {
		t.Skipf("needs two NUMA nodes, as the guest of integration/ledger has: %q, %v", nodes, err)
	}
}

// theNode is the cause that is expected where no limit fired: tier C has only
// the counters, which show nothing else.
func (b *bench) theNode(cause oom.Cause) oom.Cause {
	if b.status.Tier == bpf.TierC {
		return oom.CauseNode
	}
	return cause
}

// TestNodeWide fills the node's memory from a cgroup without a limit.
func TestNodeWide(t *testing.T) {
	needGuest(t)
	b := newBench(t)
	p := startHog(t, b.cgroup(t, "c", 0))
	ev, r := b.killSomehow(t, p, func() { require.NoError(t, p.in.Close()) })
	require.Equal(t, b.theNode(oom.CauseNode), ev.Cause)
	if b.status.Tier == bpf.TierC {
		return
	}
	require.Equal(t, bpf.ConstraintNone, r.Constraint)
	require.Zero(t, r.Domain)
	require.NotEqual(t, int32(bpf.OrderSysrq), r.Order)
}

// TestSysrq asks the kernel for a kill, as an operator does.
func TestSysrq(t *testing.T) {
	needGuest(t)
	b := newBench(t)
	p := startHog(t, b.cgroup(t, "c", 0))
	ev, r := b.killSomehow(t, p, func() {
		require.NoError(t, os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0o644))
		require.NoError(t, os.WriteFile("/proc/sysrq-trigger", []byte("f"), 0o644))
	})
	require.Equal(t, b.theNode(oom.CauseSysrq), ev.Cause)
	if b.status.Tier != bpf.TierC {
		require.EqualValues(t, bpf.OrderSysrq, r.Order)
	}
}

// TestCpuset fills the one NUMA node that a cpuset leaves.
func TestCpuset(t *testing.T) {
	needTwoNodes(t)
	b := newBench(t)
	b.needV2(t, "cpuset beside memory")
	dir := b.cgroup(t, "c", 0)
	for _, above := range []string{b.h.Mount, b.parent} {
		require.NoError(t, os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), []byte("+cpuset"), 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cpuset.mems"), []byte("1"), 0o644))
	p := startHog(t, dir)
	ev, r := b.killSomehow(t, p, func() { require.NoError(t, p.in.Close()) })
	require.Equal(t, b.theNode(oom.CauseCpuset), ev.Cause)
	b.checkSecondNode(t, r, bpf.ConstraintCpuset)
}

// TestMempolicy fills the one NUMA node that a process binds itself to.
func TestMempolicy(t *testing.T) {
	needTwoNodes(t)
	b := newBench(t)
	p := start(t, b.cgroup(t, "c", 0), "bound")
	ev, r := b.killSomehow(t, p, func() { require.NoError(t, p.in.Close()) })
	require.Equal(t, b.theNode(oom.CauseMempolicy), ev.Cause)
	b.checkSecondNode(t, r, bpf.ConstraintMempolicy)
}

func (b *bench) checkSecondNode(t *testing.T, r bpf.Record, constraint uint32) {
	t.Helper()
	if b.status.Tier == bpf.TierC {
		return
	}
	require.Equal(t, constraint, r.Constraint)
	require.Zero(t, r.Domain)
	var info unix.Sysinfo_t
	require.NoError(t, unix.Sysinfo(&info))
	require.Positive(t, r.TotalPages)
	require.Less(t, r.TotalPages, info.Totalram*uint64(info.Unit)/uint64(os.Getpagesize()), "one node's alone")
}

// bindToSecondNode has all memory of the calling thread come from there, for the
// helper "bound".
func bindToSecondNode() error {
	const mpolBind = 2
	runtime.LockOSThread()
	mask := uint64(1 << 1)
	_, _, errno := unix.Syscall(unix.SYS_SET_MEMPOLICY, mpolBind, uintptr(unsafe.Pointer(&mask)), 64)
	if errno != 0 {
		return errno
	}
	return nil
}

// killSomehow has a container's init killed, and returns evidence and record.
func (b *bench) killSomehow(t *testing.T, p *proc, how func()) (oom.Evidence, bpf.Record) {
	t.Helper()
	p.prefer(t, 1000)
	source := bpf.NewSource(b.opts.Dir, b.h)
	defer source.Close()
	probe, err := source.Arm(oom.Target{ID: "c", Pid: p.pid()})
	require.NoError(t, err)
	defer probe.Close()
	how()
	p.killed(t)
	ev, err := probe.Read()
	require.NoError(t, err)
	t.Logf("%+v", ev)
	require.Equal(t, oom.Yes, ev.Init)
	r := record(t, b.open(t), p)
	t.Logf("%+v", r)
	return ev, r
}
