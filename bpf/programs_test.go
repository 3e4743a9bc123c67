package bpf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"github.com/oomwitness/oomwitness/oom"
)

// unattached are a tier's programs, which are run by hand with made-up
// arguments: BPF_PROG_TEST_RUN takes raw tracepoints from Linux 5.10 on.
type unattached struct {
	coll *ebpf.Collection
	mark *ebpf.Program
	task uint64 // address of this thread's task_struct
	id   TaskKey
	h    oom.Hierarchy
}

const sendSigPriv = 1

func newUnattached(t *testing.T, shape string) *unattached {
	t.Helper()
	return newUnattachedLike(t, shape, func(*ebpf.CollectionSpec) {})
}

// newUnattachedLike changes them first.
func newUnattachedLike(t *testing.T, shape string, change func(*ebpf.CollectionSpec)) *unattached {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	limit := new(memlock)
	t.Cleanup(limit.restore)
	limit.lift()
	spec, err := tierSpec(settings{tier: TierC, hierarchy: uint32(h.Version), abi: ABI, kernel: kernelShape{markVictim: shape, mapped: true}})
	require.NoError(t, err)
	change(spec)
	coll, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	t.Cleanup(coll.Close)
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	ticks, err := StartTicks(os.Getpid())
	require.NoError(t, err)
	return &unattached{
		coll: coll, mark: coll.Programs[shape], task: currentTask(t), h: h,
		id: TaskKey{TGID: uint32(os.Getpid()), StartTicks: ticks},
	}
}

// currentTask returns the address of the calling thread's task_struct.
func currentTask(t *testing.T) uint64 {
	t.Helper()
	return ask(t, asm.Instructions{
		asm.FnGetCurrentTask.Call(),
		asm.Mov.Reg(asm.R6, asm.R0),
	})
}

// readerOf returns a map as a reader of the ledger has it open.
func readerOf(t *testing.T, m *ebpf.Map) *pinned.Map {
	t.Helper()
	fd, err := unix.Dup(m.FD())
	require.NoError(t, err)
	r, err := pinned.New(fd)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func (u *unattached) signal(t *testing.T, sig, info uint64) {
	t.Helper()
	_, err := u.coll.Programs["signal_generate"].Run(&ebpf.RunOptions{Context: []uint64{sig, info, u.task, 1, 0}})
	require.NoError(t, err)
}

func (u *unattached) marked(t *testing.T, shape string) {
	t.Helper()
	args := []uint64{uint64(unix.Gettid())}
	if shape == markVictimTask {
		args = []uint64{u.task, 0}
	}
	_, err := u.mark.Run(&ebpf.RunOptions{Context: args})
	require.NoError(t, err)
}

func (u *unattached) counts(t *testing.T) metaValue {
	t.Helper()
	m, err := counts(readerOf(t, u.coll.Maps[mapMeta]))
	require.NoError(t, err)
	return m
}

// kill is one that only the raw tracepoints see.
func (u *unattached) kill(t *testing.T) {
	t.Helper()
	u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
	u.marked(t, markVictimPID)
}

func (u *unattached) cgroup(t *testing.T) (e cgroupEntry) {
	t.Helper()
	path, err := u.h.PathOf(os.Getpid())
	require.NoError(t, err)
	id, err := CgroupID(u.h.Mount + path)
	require.NoError(t, err)
	require.NoError(t, u.coll.Maps[mapByCgroup].Lookup(id, &e))
	return e
}

// TestBothShapes runs the programs for both forms of mark_victim on any kernel.
func TestBothShapes(t *testing.T) {
	for _, shape := range []string{markVictimPID, markVictimTask} {
		t.Run(shape, func(t *testing.T) {
			u := newUnattached(t, shape)
			u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
			u.marked(t, shape)
			var r Record
			require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
			require.NoError(t, r.check())
			require.EqualValues(t, unix.Gettid(), r.TID)
			require.EqualValues(t, 1, u.counts(t).Victims)
			path, err := u.h.PathOf(os.Getpid())
			require.NoError(t, err)
			id, err := CgroupID(u.h.Mount + path)
			require.NoError(t, err)
			require.Equal(t, id, r.Cgroup)
			u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
			u.marked(t, shape)
			require.EqualValues(t, 1, u.counts(t).Victims, "a process is killed once")
		})
	}
}

// TestDyingTask: a mark alone is given to tasks that were dying already, and
// SIGKILL from elsewhere is no sign of the OOM killer.
func TestDyingTask(t *testing.T) {
	u := newUnattached(t, markVictimPID)
	u.marked(t, markVictimPID)
	u.signal(t, uint64(unix.SIGKILL), 0)
	u.marked(t, markVictimPID)
	u.signal(t, uint64(unix.SIGTERM), sendSigPriv)
	u.marked(t, markVictimPID)
	m := u.counts(t)
	require.Zero(t, m.Victims)
	require.EqualValues(t, 3, m.Marked)
	require.EqualValues(t, 3, m.NotKilled)
	require.ErrorIs(t, u.coll.Maps[mapByTask].Lookup(&u.id, &Record{}), ebpf.ErrKeyNotExist)
}

// TestRingFull: with nobody reading, records are lost and counted, and the maps
// stay right.
func TestRingFull(t *testing.T) {
	const kills = 4000
	u := newUnattached(t, markVictimPID)
	for range kills {
		u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
		u.marked(t, markVictimPID)
		require.NoError(t, u.coll.Maps[mapByTask].Delete(&u.id))
	}
	m := u.counts(t)
	require.EqualValues(t, kills, m.Victims)
	require.Positive(t, m.LostRing)
	require.Zero(t, m.LostTask+m.LostCgrp)
	var r Record
	u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
	u.marked(t, markVictimPID)
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
	var e cgroupEntry
	require.NoError(t, u.coll.Maps[mapByCgroup].Lookup(r.Cgroup, &e))
	require.EqualValues(t, kills+1, e.Victims)
	t.Logf("%d kills, %d records in the ring", kills+1, kills+1-u.counts(t).LostRing)
}

// TestLockedMemory adds up what the maps hold in the kernel.
func TestLockedMemory(t *testing.T) {
	u := newUnattached(t, markVictimPID)
	re := regexp.MustCompile(`(?m)^memlock:\s*(\d+)$`)
	total := 0
	for name, m := range u.coll.Maps {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
		require.NoError(t, err)
		match := re.FindSubmatch(info)
		require.NotNil(t, match, name)
		n, err := strconv.Atoi(string(match[1]))
		require.NoError(t, err)
		t.Logf("%-10s %8d bytes", name, n)
		total += n
	}
	t.Logf("metric=ledger-map-bytes bytes=%d", total)
	require.Less(t, total, 4<<20)
}

// TestRelocations loads every program of every tier: each CO-RE relocation is
// resolved against this kernel's BTF, and the verifier takes the result. Where
// the kernel refuses a type of program the relocations count alone.
func TestRelocations(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs")
	}
	limit := new(memlock)
	defer limit.restore()
	types, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	kernel, err := shapeOf(types)
	require.NoError(t, err)
	for _, tier := range []Tier{TierA, TierB, TierC} {
		for _, shape := range []string{markVictimPID, markVictimTask} {
			kernel.markVictim = shape
			coll, err := load(settings{tier: tier, hierarchy: 2, abi: ABI, limit: limit, kernel: kernel}, nil)
			if errors.Is(err, unix.EPERM) || errors.Is(err, ebpf.ErrNotSupported) {
				t.Logf("tier %v: %v", tier, err)
				continue
			}
			require.NoError(t, err, tier.String())
			coll.Close()
		}
	}
}

var _ io.Closer = (*Ledger)(nil)
