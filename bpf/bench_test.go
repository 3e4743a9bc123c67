package bpf_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// ofBenchmark loads a ledger that is the benchmark's own.
func ofBenchmark(b *testing.B) bpf.Options {
	b.Helper()
	if os.Getuid() != 0 || bpffs == "" {
		b.Skip("needs root and a BPF filesystem, to load the ledger")
	}
	o := bpf.Options{Dir: filepath.Join(bpffs, "benchmark"), LockDir: b.TempDir()}
	_, err := bpf.Load(o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, bpf.Unload(o.Dir, o.LockDir)) })
	return o
}

func sourceOfBenchmark(b *testing.B) *bpf.Source {
	b.Helper()
	o := ofBenchmark(b)
	h, err := oom.FindHierarchy()
	require.NoError(b, err)
	s := bpf.NewSource(o.Dir, h)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// BenchmarkDecodeRecord is what each record of the ring goes through.
func BenchmarkDecodeRecord(b *testing.B) {
	r := bpf.Record{ABI: bpf.ABI, Tier: bpf.TierA, TGID: 100, TID: 100, StartTicks: 5, Constraint: bpf.ConstraintMemcg}
	r.Size = uint32(binary.Size(r))
	raw, err := binary.Append(nil, binary.NativeEndian, &r)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bpf.DecodeRecord(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadLedger takes the reading that each exit takes.
func BenchmarkReadLedger(b *testing.B) {
	s := sourceOfBenchmark(b)
	p, err := s.Arm(oom.Target{ID: "self", Pid: os.Getpid()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, p.Close()) })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkArm takes the baseline of a container, as each Create does.
func BenchmarkArm(b *testing.B) {
	s := sourceOfBenchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		p, err := s.Arm(oom.Target{ID: "self", Pid: os.Getpid()})
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Close()
	}
}

// BenchmarkLoadAgain is what each start of a pod pays where the ledger is there.
func BenchmarkLoadAgain(b *testing.B) {
	o := ofBenchmark(b)
	b.ReportAllocs()
	for b.Loop() {
		st, err := bpf.Load(o)
		if err != nil || st.Loaded {
			b.Fatal(st, err)
		}
	}
}
