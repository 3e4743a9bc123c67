package bpf

import (
	"errors"
	"fmt"
	"os"
	"structs"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"github.com/oomwitness/oomwitness/oom"
)

// memoryKnown are the flags of an eventMemory: what of it is known.
type memoryKnown uint32

const (
	memoryUsage memoryKnown = 1 << iota
	memorySwap
	memoryKinds
	// memoryKernel means that Kernel is the kernel's own sum.
	memoryKernel
	memoryPageTables
	memorySockets
	memoryCandidates
	// memoryOwn marks the victim's own cgroup, where it is not known whose limit fired.
	memoryOwn
)

// candidate is a process that the OOM killer has looked at.
type candidate struct {
	_           structs.HostLayout
	TGID        uint32
	OOMScoreAdj int32
	RSS         uint64 // pages
	Swap        uint64 // pages
	Comm        Comm
}

const maxCandidates = 8

// eventMemory is a value of memories: what filled the memory at an OOM event, in bytes.
type eventMemory struct {
	_          structs.HostLayout
	Seq        uint64 // of the event, 0 while the rest is being written
	Cgroup     uint64 // 0 for the node
	Known      memoryKnown
	Scanned    uint32 // of List that are set
	Usage      uint64
	Limit      uint64 // 0 for none
	Swap       uint64
	Anon       uint64
	File       uint64 // with Shmem
	Shmem      uint64
	Kernel     uint64
	Slab       uint64
	Stacks     uint64
	PageTables uint64
	Sockets    uint64
	List       [maxCandidates]candidate // the largest, in no order
}

// memorySlots is MEMORIES of the programs.
const memorySlots = 64

// Memory returns what filled the memory at an OOM event, by its number. False means that
// the ledger does not know: another event has taken its room, one of the newest 64, or the
// ledger was of ABI 1.
func (l *Ledger) Memory(seq uint64) (oom.Memory, bool, error) {
	m, ok, err := l.memory(seq)
	if err == nil {
		err = l.Whole()
	}
	return m, ok && err == nil, err
}

func (l *Ledger) memory(seq uint64) (oom.Memory, bool, error) {
	var m, again eventMemory
	slot := uint32(seq % memorySlots)
	if err := errors.Join(pinned.Lookup(l.memories, &slot, &m), pinned.Lookup(l.memories, &slot, &again)); err != nil {
		return oom.Memory{}, false, fmt.Errorf("look an event up in the OOM ledger: %w", permission(err, capBPF))
	}
	if m.Seq != seq || seq == 0 || m != again {
		return oom.Memory{}, false, nil
	}
	return m.evidence(), true, nil
}

// Names of what a ledger does not know, in oom.Memory's Unknown.
const (
	unknownCgroup     = "limiting cgroup"
	unknownUsage      = "usage"
	unknownSwap       = "swap"
	unknownKinds      = "kinds"
	unknownKernel     = "kernel"
	unknownPageTables = "pageTables"
	unknownSockets    = "sockets"
	unknownCandidates = "candidates"
)

// fullWithin is how far below its limit the usage of a cgroup is at the most when its limit
// has fired: what the kernel charges at once (MEMCG_CHARGE_BATCH, 64 pages, of
// include/linux/memcontrol.h) for each of a few CPUs.
const fullWithin = 512

// evidence returns the memory as a verdict has it. In tier C that of the victim's own
// cgroup stands for that of the limiting one where the cgroup was full.
func (m *eventMemory) evidence() oom.Memory {
	page := uint64(os.Getpagesize())
	own := m.Known&memoryOwn != 0
	if own && (m.Limit == 0 || m.Usage+fullWithin*page < m.Limit) {
		return oom.Memory{Unknown: []string{
			unknownCgroup, unknownUsage, unknownSwap, unknownKinds, unknownKernel, unknownCandidates,
		}}
	}
	e := oom.Memory{
		Usage: m.Usage, Limit: m.Limit, Swap: m.Swap, Anon: m.Anon, File: m.File - min(m.File, m.Shmem), Shmem: m.Shmem,
		Kernel: m.Kernel, Slab: m.Slab, Stacks: m.Stacks, PageTables: m.PageTables, Sockets: m.Sockets,
		Candidates: m.candidates(page),
	}
	for _, u := range []struct {
		known memoryKnown
		name  string
	}{
		{memoryUsage, unknownUsage},
		{memorySwap, unknownSwap},
		{memoryKinds, unknownKinds},
		{memoryPageTables, unknownPageTables},
		{memorySockets, unknownSockets},
		{memoryCandidates, unknownCandidates},
	} {
		if m.Known&u.known == 0 {
			e.Unknown = append(e.Unknown, u.name)
		}
	}
	if m.Known&(memoryKernel|memoryKinds) == 0 {
		e.Unknown = append(e.Unknown, unknownKernel)
	}
	if own {
		e.Unknown = append(e.Unknown, unknownCgroup)
	}
	return e
}

// candidates returns the list, the largest first. The package slices would add 13 KB to the
// shim for these eight.
func (m *eventMemory) candidates(page uint64) (list []oom.Candidate) {
	for _, c := range m.List[:min(m.Scanned, maxCandidates)] {
		list = append(list, oom.Candidate{
			PID: int(c.TGID), Comm: c.Comm.String(), RSS: c.RSS * page, Swap: c.Swap * page, ScoreAdj: int(c.OOMScoreAdj),
		})
		for i := len(list) - 1; i > 0 && sizeOf(list[i-1]) < sizeOf(list[i]); i-- {
			list[i-1], list[i] = list[i], list[i-1]
		}
	}
	return list
}

func sizeOf(c oom.Candidate) uint64 { return c.RSS + c.Swap }
