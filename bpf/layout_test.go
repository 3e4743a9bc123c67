package bpf

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// TestLayout compares Go's side of the ABI with the types of the generated
// objects, field by field.
func TestLayout(t *testing.T) {
	spec, err := loadLedger()
	require.NoError(t, err)
	for name, of := range map[string]any{
		"record": Record{}, "cgroup_entry": cgroupEntry{}, "meta": metaValue{}, "task_key": TaskKey{},
		"task_ref": TaskRef{}, "sender": senderEntry{}, "event_memory": eventMemory{}, "candidate": candidate{},
	} {
		t.Run(name, func(t *testing.T) {
			var s *btf.Struct
			require.NoError(t, spec.Types.TypeByName(name, &s))
			compareLayout(t, s, reflect.TypeOf(of))
		})
	}
	require.EqualValues(t, recordSize, reflect.TypeFor[Record]().Size())
	for name, size := range map[string]uintptr{
		mapByTask: recordSize, mapByCgroup: reflect.TypeFor[cgroupEntry]().Size(), mapMeta: reflect.TypeFor[metaValue]().Size(),
		mapInits: reflect.TypeFor[senderEntry]().Size(), mapMemories: reflect.TypeFor[eventMemory]().Size(),
	} {
		require.EqualValues(t, size, spec.Maps[name].ValueSize, name)
	}
	require.EqualValues(t, reflect.TypeFor[TaskKey]().Size(), spec.Maps[mapByTask].KeySize)
}

// renamed are fields whose names say more in Go.
var renamed = map[string]string{
	"lostcgroup": "lostcgrp", "pgtables": "pagetables",
}

func compareLayout(t *testing.T, c *btf.Struct, g reflect.Type) {
	t.Helper()
	require.EqualValues(t, c.Size, g.Size())
	i := 1 // after structs.HostLayout
	for _, m := range c.Members {
		f := g.Field(i)
		size, err := btf.Sizeof(m.Type)
		require.NoError(t, err)
		want := strings.ReplaceAll(m.Name, "_", "")
		if other, ok := renamed[want]; ok {
			want = other
		}
		if want != "pad" {
			require.Equal(t, want, strings.ToLower(f.Name))
		}
		require.EqualValues(t, m.Offset.Bytes(), f.Offset, m.Name)
		require.EqualValues(t, size, f.Type.Size(), m.Name)
		i++
	}
	require.Equal(t, g.NumField(), i)
}

// TestBothObjects compares the objects of the two architectures, of which this
// machine can load one: the same maps, programs, and types.
func TestBothObjects(t *testing.T) {
	const x86, arm64 = "ledger_x86_bpfel.o", "ledger_arm64_bpfel.o"
	a, err := ebpf.LoadCollectionSpec(x86)
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs the source folder, where the objects are")
	}
	require.NoError(t, err)
	b, err := ebpf.LoadCollectionSpec(arm64)
	require.NoError(t, err)
	for name, m := range a.Maps {
		require.Contains(t, b.Maps, name)
		require.Equal(t, m.Type, b.Maps[name].Type)
		require.Equal(t, m.KeySize, b.Maps[name].KeySize)
		require.Equal(t, m.ValueSize, b.Maps[name].ValueSize)
		require.Equal(t, m.MaxEntries, b.Maps[name].MaxEntries)
	}
	for name, p := range a.Programs {
		require.Contains(t, b.Programs, name)
		require.Equal(t, p.SectionName, b.Programs[name].SectionName)
	}
	for name, of := range map[string]any{
		"record": Record{}, "cgroup_entry": cgroupEntry{}, "meta": metaValue{}, "task_key": TaskKey{},
		"task_ref": TaskRef{}, "sender": senderEntry{},
	} {
		var s *btf.Struct
		require.NoError(t, b.Types.TypeByName(name, &s))
		compareLayout(t, s, reflect.TypeOf(of))
	}
}

// TestMaps looks at the maps and at each tier's programs.
func TestMaps(t *testing.T) {
	spec, err := loadLedger()
	require.NoError(t, err)
	for _, name := range mapNames {
		require.Contains(t, spec.Maps, name)
		require.Equal(t, mapShapes[name].kind, pinned.Kind(spec.Maps[name].Type), name)
		require.Equal(t, mapShapes[name].keySize, spec.Maps[name].KeySize, name)
		require.Zero(t, spec.Maps[name].Flags, "%s must be preallocated", name)
	}
	for _, tier := range []Tier{TierA, TierB, TierC} {
		for _, shape := range []string{markVictimPID, markVictimTask} {
			set := settings{tier: tier, hierarchy: 2, abi: ABI, kernel: kernelShape{markVictim: shape, scan: true}}
			s, err := tierSpec(set)
			require.NoError(t, err)
			require.Len(t, s.Programs, len(set.hooks())+1)
		}
	}
}
