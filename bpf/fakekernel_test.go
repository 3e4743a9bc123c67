package bpf

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fakeTask is a task in a cgroup, laid out as this kernel does in the memory of
// a map, for programs that are run by hand: they read it as any other.
type fakeTask struct {
	mem  *ebpf.Map
	raw  []byte
	base uint64 // address of the task
	// Offsets in raw.
	tgid, pid, id int
}

// Where the objects begin.
const (
	fakeSet  = 32 << 10
	fakeCgrp = 40 << 10
	fakeNode = 56 << 10
	fakeSize = 64 << 10
)

func newFakeTask(t *testing.T) *fakeTask {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	at := func(structure, field string) int {
		var s *btf.Struct
		require.NoError(t, kernel.TypeByName(structure, &s))
		offset, ok := memberOffset(s.Members, field)
		require.True(t, ok, "%s.%s", structure, field)
		return offset
	}
	mem, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: fakeSize, MaxEntries: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mem.Close()) })
	f := &fakeTask{
		mem: mem, raw: make([]byte, fakeSize), base: addressOf(t, mem),
		tgid: at("task_struct", "tgid"), pid: at("task_struct", "pid"), id: fakeNode + at("kernfs_node", "id"),
	}
	link := func(from, to int) { binary.NativeEndian.PutUint64(f.raw[from:], f.base+uint64(to)) }
	link(at("task_struct", "group_leader"), 0)
	link(at("task_struct", "cgroups"), fakeSet)
	link(fakeSet+at("css_set", "dfl_cgrp"), fakeCgrp)
	link(fakeCgrp+at("cgroup", "kn"), fakeNode)
	return f
}

// be makes it another process in another cgroup.
func (f *fakeTask) be(t *testing.T, pid uint32, cgroup uint64) {
	t.Helper()
	binary.NativeEndian.PutUint32(f.raw[f.tgid:], pid)
	binary.NativeEndian.PutUint32(f.raw[f.pid:], pid)
	binary.NativeEndian.PutUint64(f.raw[f.id:], cgroup)
	require.NoError(t, f.mem.Put(uint32(0), f.raw))
}

// memberOffset finds a field, also within members that have no name.
func memberOffset(members []btf.Member, field string) (int, bool) {
	for _, m := range members {
		if m.Name == field {
			return int(m.Offset.Bytes()), true
		}
		inner, ok := btf.As[*btf.Struct](m.Type)
		if m.Name != "" || !ok {
			continue
		}
		if offset, ok := memberOffset(inner.Members, field); ok {
			return int(m.Offset.Bytes()) + offset, true
		}
	}
	return 0, false
}

// addressOf has a program return where the kernel has an array map's first value.
func addressOf(t *testing.T, mem *ebpf.Map) uint64 {
	t.Helper()
	return ask(t, asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, mem.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "found"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Reg(asm.R6, asm.R0).WithSymbol("found"),
	})
}

// ask runs instructions and returns what they leave in R6.
func ask(t *testing.T, question asm.Instructions) uint64 {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	require.NoError(t, err)
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: append(question,
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.StoreMem(asm.R0, 0, asm.R6, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		),
	})
	require.NoError(t, err)
	defer p.Close()
	_, err = p.Run(&ebpf.RunOptions{Context: []uint64{0}})
	require.NoError(t, err)
	var answer uint64
	require.NoError(t, m.Lookup(uint32(0), &answer))
	require.NotZero(t, answer)
	return answer
}

// newUnattachedV2 returns programs that take the cgroups of v2.
func newUnattachedV2(t *testing.T) *unattached {
	t.Helper()
	return newUnattachedLike(t, markVictimPID, func(spec *ebpf.CollectionSpec) {
		require.NoError(t, spec.Variables["hierarchy"].Set(uint32(2)))
	})
}

// runWith are the options of a program with that argument.
func runWith(arg uint64) *ebpf.RunOptions { return &ebpf.RunOptions{Context: []uint64{arg}} }

// TestManyCgroups kills in 10,000 cgroups: the map stays within its bounds, it
// never refuses one, the counters say how many there were, and the newest
// quarter, which probes rely on, is there.
func TestManyCgroups(t *testing.T) {
	const many = 10000
	u := newUnattachedV2(t)
	fake := newFakeTask(t)
	u.task = fake.base
	const firstPID, firstID = 1 << 20, uint64(1) << 40
	for i := range uint64(many) {
		fake.be(t, firstPID+uint32(i), firstID+i)
		u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
		_, err := u.mark.Run(&ebpf.RunOptions{Context: []uint64{firstPID + i}})
		require.NoError(t, err)
	}
	m := u.counts(t)
	require.EqualValues(t, many, m.Victims)
	require.EqualValues(t, many, m.Cgroups)
	require.Zero(t, m.LostCgrp+m.LostTask)
	byCgroup := u.coll.Maps[mapByCgroup]
	var (
		id    uint64
		e     cgroupEntry
		there int
	)
	it := byCgroup.Iterate()
	for it.Next(&id, &e) {
		there++
		require.EqualValues(t, 1, e.Victims, id)
	}
	require.NoError(t, it.Err())
	require.LessOrEqual(t, there, int(byCgroup.MaxEntries()))
	for i := uint64(many - sureCgroups); i < many; i++ {
		require.NoError(t, byCgroup.Lookup(firstID+i, &e), fmt.Sprint(i))
		require.EqualValues(t, firstPID+i, e.LastTGID)
	}
	for i := uint64(many - sureTasks); i < many; i++ {
		key := TaskKey{TGID: firstPID + uint32(i)}
		require.NoError(t, u.coll.Maps[mapByTask].Lookup(&key, &Record{}), fmt.Sprint(i))
	}
	t.Logf("%d cgroups entered, %d there", m.Cgroups, there)
}
