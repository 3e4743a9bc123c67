package bpf_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// number reads a count from the environment.
func number(t *testing.T, name string, or int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return or
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// needV2 skips on cgroup v1, which has no such thing.
func (b *bench) needV2(t *testing.T, what string) {
	t.Helper()
	if b.h.Version != 2 {
		t.Skipf("needs cgroup v2: v1 has no %s", what)
	}
}

// TestRecord looks at every field of one kill.
func TestRecord(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", oomtest.RealLimit)
	before := time.Now()
	p := hog(t, dir)
	l := b.open(t)
	r := record(t, l, p)
	id, err := bpf.CgroupID(dir)
	require.NoError(t, err)
	require.WithinRange(t, r.Time(), before, time.Now())
	require.NotZero(t, r.Seq)
	require.Zero(t, r.Index)
	require.EqualValues(t, p.pid(), r.TID)
	require.Equal(t, "tail", r.Comm.String())
	require.Equal(t, "tail", r.TriggerComm.String())
	require.EqualValues(t, p.pid(), r.TriggerTGID)
	require.EqualValues(t, 1000, r.OOMScoreAdj)
	require.Zero(t, r.UID)
	page := uint64(os.Getpagesize())
	require.InDelta(t, oomtest.RealLimit/page, r.RSSAnon, float64(oomtest.RealLimit/page/4), "anon")
	require.Greater(t, r.TotalVM, r.RSSAnon)
	require.Positive(t, r.PageTables)
	require.Equal(t, id, r.Cgroup)
	require.Equal(t, b.status.Tier, r.Tier)
	require.Zero(t, r.Flags&(bpf.FlagShared|bpf.FlagOOMGroup|bpf.FlagNSInit|bpf.FlagNoRSS))
	if r.Tier == bpf.TierC {
		require.Equal(t, bpf.ConstraintUnknown, r.Constraint)
		require.Equal(t, bpf.FlagNoControl|bpf.FlagEventGuessed, r.Flags)
		return
	}
	require.Equal(t, id, r.Domain)
	require.Equal(t, bpf.ConstraintMemcg, r.Constraint)
	require.GreaterOrEqual(t, r.Order, int32(0))
	require.EqualValues(t, oomtest.RealLimit/page, r.TotalPages)
	require.Positive(t, r.Points)
}

// TestSizes looks at the fields that are zero in TestRecord: the user, and the
// memory of all three kinds.
func TestSizes(t *testing.T) {
	b := newBench(t)
	p := start(t, b.cgroup(t, "c", oomtest.RealLimit), "sized")
	p.prefer(t, 555)
	require.NoError(t, p.in.Close())
	p.killed(t)
	r := record(t, b.open(t), p)
	page := uint64(os.Getpagesize())
	// What the CPUs have not added up yet is not in it.
	require.InDelta(t, sizedShmem/page, r.RSSShmem, 256, "shmem")
	require.Greater(t, r.RSSFile, sizedFile/page/2)
	require.Less(t, r.RSSFile, 8*sizedFile/page)
	require.Greater(t, r.RSSAnon, oomtest.RealLimit/page/4)
	require.EqualValues(t, sizedUID, r.UID)
	require.EqualValues(t, 555, r.OOMScoreAdj)
}

// TestNamespaceInit kills process 1 of a PID namespace, as a container's init is.
func TestNamespaceInit(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", oomtest.RealLimit)
	cmd := exec.Command("sh", "-c", "read go; exec tail /dev/zero")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	p := startCommand(t, dir, cmd)
	require.NoError(t, p.in.Close())
	p.killed(t)
	hog(t, dir)
	l := b.open(t)
	r := record(t, l, p)
	require.NotZero(t, r.Flags&bpf.FlagNSInit)
	c := cgroupOf(t, l, dir)
	require.EqualValues(t, 2, c.Victims)
	require.EqualValues(t, 1, c.NSInits)
}

// TestGroupKill kills a group at once: five processes, and a storm of 200.
func TestGroupKill(t *testing.T) {
	for _, size := range []int{5, 200} {
		t.Run(strconv.Itoa(size), func(t *testing.T) { testGroupKill(t, size) })
	}
}

func testGroupKill(t *testing.T, size int) {
	b := newBench(t)
	b.needV2(t, "memory.oom.group")
	dir := b.cgroup(t, "c", 4*oomtest.RealLimit)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.oom.group"), []byte("1"), 0o644))
	var group []*proc
	for range size - 1 {
		group = append(group, startIdle(t, dir))
	}
	group = append(group, hog(t, dir))
	l := b.open(t)
	index, seqs := map[uint32]bool{}, map[uint64]bool{}
	var first, last time.Time
	for i, p := range group {
		if i < size-1 {
			p.killed(t)
		}
		r := record(t, l, p)
		seqs[r.Seq] = true
		require.NotZero(t, r.Flags&bpf.FlagOOMGroup)
		require.Less(t, r.Index, uint32(size))
		index[r.Index] = true
		if at := r.Time(); last.IsZero() || at.After(last) {
			last = at
		}
		if at := r.Time(); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	require.Len(t, index, size)
	require.Len(t, seqs, 1)
	c := cgroupOf(t, l, dir)
	require.EqualValues(t, size, c.Victims)
	require.EqualValues(t, size, c.Own)
	require.EqualValues(t, 1, c.Events)
	above := cgroupOf(t, l, b.parent)
	require.EqualValues(t, size, above.Victims)
	require.Zero(t, above.Own)
	require.Equal(t, above.ID, c.Parent)
	t.Logf("metric=ledger-group-kill tier=%v kills=%d ms=%d", b.status.Tier, size, last.Sub(first).Milliseconds())
}

// TestSharer has a victim that shares its memory with another process, which
// the kernel kills too and counts nowhere.
func TestSharer(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 2*oomtest.RealLimit)
	p := start(t, dir, "sharer")
	p.begin(t)
	p.prefer(t, 1000)
	require.Eventually(t, func() bool { return len(pidsIn(t, dir)) == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, p.in.Close())
	p.killed(t)
	l := b.open(t)
	c := cgroupOf(t, l, dir)
	require.EqualValues(t, 2, c.Victims)
	require.EqualValues(t, 1, c.Events)
	all, err := l.Records()
	require.NoError(t, err)
	var list []bpf.Record
	for _, r := range all {
		if r.Cgroup == c.ID {
			list = append(list, r)
		}
	}
	require.Len(t, list, 2)
	require.NotEqual(t, list[0].TGID, list[1].TGID)
	require.Equal(t, list[0].Seq, list[1].Seq)
	require.Equal(t, bpf.FlagShared, (list[0].Flags|list[1].Flags)&bpf.FlagShared)
	require.NotEqual(t, list[0].Flags&bpf.FlagShared, list[1].Flags&bpf.FlagShared)
	record(t, l, p)
}

func pidsIn(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	require.NoError(t, err)
	return lines(data)
}

// TestLeaderExited kills a process whose first thread has ended.
func TestLeaderExited(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 2*oomtest.RealLimit)
	p := start(t, dir, "leaderless")
	p.begin(t)
	p.prefer(t, 1000)
	require.Eventually(t, func() bool { return leaderEnded(p.pid()) }, 10*time.Second, time.Millisecond)
	require.NoError(t, p.in.Close())
	p.killed(t)
	r := record(t, b.open(t), p)
	require.NotEqual(t, r.TGID, r.TID)
	require.Zero(t, r.Flags&bpf.FlagNoRSS)
}

// TestLookUp looks each victim up as soon as its end can be seen.
func TestLookUp(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", 8<<20)
	l := b.open(t)
	misses, n := 0, number(t, "LOOKUPS", 100)
	for range n {
		p := hog(t, dir)
		_, ok, err := l.Task(uint32(p.pid()), p.ticks)
		require.NoError(t, err)
		if !ok {
			misses++
		}
	}
	require.Zero(t, misses)
	require.EqualValues(t, n, cgroupOf(t, l, dir).Victims)
	t.Logf("metric=ledger-look-ups tier=%v look-ups=%d misses=%d", b.status.Tier, n, misses)
}

// TestPIDReuse kills two processes with the same PID.
func TestPIDReuse(t *testing.T) {
	b := newBench(t)
	dir := b.cgroup(t, "c", oomtest.RealLimit)
	first := hog(t, dir)
	var second *proc
	for range 200 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(first.pid()-1)), 0o644); err != nil {
			t.Skipf("needs a kernel with CONFIG_CHECKPOINT_RESTORE: %v", err)
		}
		second = startHog(t, dir)
		if second.pid() == first.pid() {
			break
		}
		_ = second.cmd.Process.Kill()
		_ = second.cmd.Wait()
	}
	require.Equal(t, first.pid(), second.pid(), "the PID could not be had again")
	require.NotEqual(t, first.ticks, second.ticks)
	l := b.open(t)
	_, ok, err := l.Task(uint32(second.pid()), second.ticks)
	require.NoError(t, err)
	require.False(t, ok, "only the first was killed yet")
	second.prefer(t, 1000)
	require.NoError(t, second.in.Close())
	second.killed(t)
	require.NotEqual(t, record(t, l, first).Seq, record(t, l, second).Seq)
}
