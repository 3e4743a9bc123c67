package bpf

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// abi1 are the programs and maps of ABI 1, version 2, as they were released.
//
//go:embed testdata/abi1_x86_bpfel.o
var abi1 []byte

// LoadABI1 pins a ledger of ABI 1 and tier C, as its own loader does.
func LoadABI1(t *testing.T, o Options) {
	t.Helper()
	o = o.withDefaults()
	require.NoError(t, ensureBPFFS(o.Dir))
	kernel, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	shape, err := markVictimShape(kernel)
	require.NoError(t, err)
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(abi1))
	require.NoError(t, err)
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return name != "signal_generate" && name != shape
	})
	for name, value := range map[string]uint32{"tier": uint32(TierC), "hierarchy": uint32(h.Version), "abi": 1} {
		require.NoError(t, spec.Variables[name].Set(value))
	}
	limit := new(memlock)
	defer limit.restore()
	limit.lift()
	coll, err := ebpf.NewCollection(spec)
	require.NoError(t, err)
	a, err := attach(coll, settings{tier: TierC, kernel: kernelShape{markVictim: shape}})
	require.NoError(t, err)
	a.coll = coll
	defer a.close()

	g := newGeneration(o.Dir, TierC, 2)
	require.NoError(t, os.Mkdir(filepath.Join(g.dir, g.name), 0o700))
	for name, l := range a.links {
		require.NoError(t, l.Pin(g.path(name)))
	}
	about, err := binary.Append(nil, binary.NativeEndian, &metaValue{
		ABI: 1, State: stateActive, Version: 2, Tier: TierC, Hierarchy: uint32(h.Version), SinceNS: BootNow(), LoadedNS: BootNow(),
	})
	require.NoError(t, err)
	meta := coll.Maps[mapMeta]
	require.NoError(t, meta.Put(metaAbout, about[:meta.ValueSize()]))
	for _, name := range mapNamesOf(1) {
		require.NoError(t, pinMap(coll.Maps[name], g.path(name)))
	}
	require.NoError(t, g.makeCurrent())
}
