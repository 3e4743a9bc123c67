//go:build linux

package shim

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// TestSpool: the verdict of each exit is in the spool when the bundle may go.
func TestSpool(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exits")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.spool = dir
		b.task.stats = metrics(t, &cgroup2.Metrics{Memory: &cgroup2.MemoryStat{Usage: 1, MaxUsage: 2, UsageLimit: 3}})
		b.create(t, "c")
		_, err := b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)})
		require.NoError(t, err)
		b.task.exit(t, "c", 143)
		<-b.container("c").settled
	})
	list, damaged, err := exits.Read(dir)
	require.NoError(t, err)
	require.Zero(t, damaged)
	require.Len(t, list, 1)
	e := list[0]
	require.Equal(t, "c", e.ID)
	require.Equal(t, 143, e.Status)
	require.Equal(t, []int{int(unix.SIGTERM)}, e.Stops)
	require.Equal(t, oom.EndedStopped, e.Verdict.Ended)
	require.EqualValues(t, 2, *e.Memory.Peak)
	require.EqualValues(t, 3, *e.Memory.Limit)
}

// TestNoSpool: what is wrong with the spool is counted, and the exit is seen all the same.
func TestNoSpool(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.spool = filepath.Join(file, "exits")
		b.create(t, "c")
		b.task.exit(t, "c", 3)
		resp, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, 3, resp.ExitStatus)
		<-b.container("c").settled
		require.EqualValues(t, 2, b.counts.add("exit not spooled"))
	})
}

func metrics(t *testing.T, m any) typeurl.Any {
	t.Helper()
	encoded, err := typeurl.MarshalAny(m)
	require.NoError(t, err)
	return encoded
}

// TestMemoryAtEnd reads what each version of cgroups says.
func TestMemoryAtEnd(t *testing.T) {
	v1 := func(limit uint64) *cgroup1.Metrics {
		return &cgroup1.Metrics{Memory: &cgroup1.MemoryStat{Usage: &cgroup1.MemoryEntry{Usage: 1, Max: 2, Limit: limit}}}
	}
	for name, tc := range map[string]struct {
		metrics any
		want    *exits.Memory
	}{
		"v1":                {v1(4096), &exits.Memory{Usage: new(uint64(1)), Peak: new(uint64(2)), Limit: new(uint64(4096))}},
		"v1, no limit":      {v1(0x7ffffffffffff000), &exits.Memory{Usage: new(uint64(1)), Peak: new(uint64(2)), Unlimited: true}},
		"v2, no limit":      {&cgroup2.Metrics{Memory: &cgroup2.MemoryStat{Usage: 1, MaxUsage: 2, UsageLimit: math.MaxUint64}}, &exits.Memory{Usage: new(uint64(1)), Peak: new(uint64(2)), Unlimited: true}},
		"v2 before 5.19":    {&cgroup2.Metrics{Memory: &cgroup2.MemoryStat{Usage: 1, UsageLimit: 3}}, &exits.Memory{Usage: new(uint64(1)), Limit: new(uint64(3))}},
		"v2, removed":       {&cgroup2.Metrics{Memory: &cgroup2.MemoryStat{}}, nil},
		"v1, removed":       {v1(0), nil},
		"other":             {&cgroup2.CPUStat{}, nil},
		"no memory of v1":   {&cgroup1.Metrics{}, nil},
		"no metrics at all": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var any typeurl.Any
			if tc.metrics != nil {
				any = metrics(t, tc.metrics)
			}
			require.Equal(t, tc.want, memoryAtEnd(any))
		})
	}
}
