package oom_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// BenchmarkParseCounters reads the file that every reading of v2 reads.
func BenchmarkParseCounters(b *testing.B) {
	text := []byte("low 0\nhigh 0\nmax 3\noom 1\noom_kill 5\noom_group_kill 1\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := oom.ParseCounters(text); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseProcCgroup finds the cgroup of an init among all of v1.
func BenchmarkParseProcCgroup(b *testing.B) {
	text, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(b, err)
	h, err := oom.FindHierarchy()
	if err != nil {
		b.Skip("needs a memory controller: ", err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := oom.ParseProcCgroup(text, h.Version); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecide ranks two sources and decides, as each exit does.
func BenchmarkDecide(b *testing.B) {
	now := time.Now()
	readings := []oom.Reading{
		{Evidence: oom.Evidence{Source: "ledger", Tier: "A", Kills: 1, Last: now, Init: oom.No, Cause: oom.CauseContainer}},
		{Evidence: oom.Evidence{Source: "memory.events", Kills: 1, Last: now}},
	}
	stops := []oom.Stop{{Signal: unix.SIGTERM}}
	exit := oom.Exit{Pid: 100, Status: 1, At: now.Add(time.Millisecond)}
	b.ReportAllocs()
	for b.Loop() {
		all, dispute := oom.Rank(readings)
		v := oom.Decide(oom.Case{Exit: exit, Evidence: all, Stops: stops, Grace: 10 * time.Second})
		if dispute != "" || v.Rule == "" {
			b.Fatal(dispute, v)
		}
	}
}

// BenchmarkReadCounters reads the counters of this process's own cgroup.
func BenchmarkReadCounters(b *testing.B) {
	h, err := oom.FindHierarchy()
	if err != nil {
		b.Skip("needs a memory controller: ", err)
	}
	s, err := oom.NewCounters(h)
	require.NoError(b, err)
	p, err := s.Arm(oom.Target{ID: "self", Pid: os.Getpid()})
	if err != nil {
		b.Skip("needs a cgroup with counters, which the root of v2 has not: ", err)
	}
	b.Cleanup(func() { require.NoError(b, p.Close()) })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Read(); err != nil {
			b.Fatal(err)
		}
	}
}
