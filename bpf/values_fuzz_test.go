package bpf

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"github.com/oomwitness/oomwitness/oom"
)

// FuzzEventMemory: any value of memories makes a Memory that holds together.
func FuzzEventMemory(f *testing.F) {
	whole, err := binary.Append(nil, binary.NativeEndian, &eventMemory{
		Seq: 1, Known: ^memoryKnown(0), Scanned: ^uint32(0), Usage: 9, Limit: 1, File: 1, Shmem: 2,
		List: [maxCandidates]candidate{{RSS: 1}, {RSS: 1 << 62, Swap: 1 << 62}},
	})
	require.NoError(f, err)
	f.Add([]byte{})
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := pinned.Decode[eventMemory](data)
		e := m.evidence()
		require.NotEmpty(t, e.String())
		require.LessOrEqual(t, len(e.Candidates), maxCandidates)
		require.True(t, slices.IsSortedFunc(e.Candidates, func(a, b oom.Candidate) int {
			return cmp.Compare(sizeOf(b), sizeOf(a))
		}))
		require.LessOrEqual(t, e.File, m.File)
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(e.Unknown))), len(e.Unknown), "named twice: %q", e.Unknown)
	})
}

// FuzzLineage: any record has a lineage. An exec'd process and a session make nothing but an
// exec's of a victim, and never of init.
func FuzzLineage(f *testing.F) {
	init, shim := TaskKey{TGID: 20, StartTicks: 1 << 33}, TaskKey{TGID: 10, StartTicks: 7}
	r := Record{TGID: 40, StartTicks: 1<<33 + 9, Session: 30, Depth: 2, NSInits: 1}
	r.Ancestors = [maxAncestors]TaskRef{init.ref(), shim.ref()}
	whole, err := binary.Append(nil, binary.NativeEndian, &r)
	require.NoError(f, err)
	r.Depth = ^uint32(0)
	wrong, err := binary.Append(nil, binary.NativeEndian, &r)
	require.NoError(f, err)
	f.Add(whole, uint64(30), uint64(1<<33), uint64(1<<33+20))
	f.Add(wrong, uint64(30), uint64(1), uint64(0))
	f.Add([]byte{}, uint64(0), uint64(1), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, pid, began, ended uint64) {
		r := pinned.Decode[Record](data)
		p := probe{family: family{init: init, shim: shim}}
		alone := p.lineage(&r)
		p.execd = []execProcess{{PID: pid, Ran: [2]uint64{began, ended}}}
		got := p.lineage(&r)
		require.Equal(t, r.Key() == init, got == oom.LineageInit)
		if got != alone {
			require.Equal(t, oom.LineageExec, got)
			require.EqualValues(t, r.Session, pid)
			require.NotZero(t, pid)
		}
	})
}
