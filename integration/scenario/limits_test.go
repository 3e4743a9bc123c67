//go:build linux

package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

const cgroupRoot = "/sys/fs/cgroup"

const disputed = "exit gate: the sources of evidence disagree"

// needV2 skips where the memory controller is on cgroup v1.
func needV2(t *testing.T) {
	t.Helper()
	if hierarchy(t).Version < 2 {
		t.Skip("needs cgroup v2")
	}
}

// cgroupOf returns the folder of a process's cgroup.
func cgroupOf(pid int) (string, error) {
	dir, err := oom.Hierarchy{Version: 2, Mount: cgroupRoot}.PathOf(pid)
	return filepath.Join(cgroupRoot, dir), err
}

// runs is how often a case is run.
func runs(t *testing.T) int { return counts.FromEnv(t, "CAUSALITY_RUNS", 2) }

// TestPodsGroup has memory.oom.group on the pod, whose limit is reached by a child. Init
// cannot be chosen. The kernel counts the child twice: that is no dispute. A SIGKILL later
// is the node's.
func TestPodsGroup(t *testing.T) {
	r := runner(t)
	needV2(t)
	freshLedger(t)
	c := causal{
		Case: mix.Case{
			Name: "pods-group", PodLimit: 64 * mix.MiB,
			Container: mix.Container{Args: []string{"child-oom-sleep"}, Score: -1000, Output: true},
			Act:       steps(mix.ChildDied, mix.KillFromHost(syscall.SIGKILL)),
			Want:      mix.Want{Status: 137, Init: oom.No, Kills: 1},
		},
		rule: oom.RuleSender, ended: oom.EndedSignal, lineage: descendant, sender: "scenario.test",
	}
	for range runs(t) {
		p, err := r.Prepare(t.Context(), mix.Ours, c.Case)
		require.NoError(t, err)
		dir, err := cgroupOf(p.Pid())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), groupFile), []byte("1"), 0))
		o, err := p.Finish(t.Context(), mix.ByWait)
		require.NoError(t, err)
		checkCausal(t, c, o)
		require.Empty(t, logged(t, disputed, o.ID))
	}
}

// TestMovedInit moves init to a cgroup beside the container's, whose limit then fires.
func TestMovedInit(t *testing.T) {
	r := runner(t)
	needV2(t)
	freshLedger(t)
	for i := range runs(t) {
		var sibling string
		moved := mix.Case{
			Name:      "moved-init",
			Container: mix.Container{Args: []string{"term-hog"}, Limit: 64 * mix.MiB, Output: true},
			Act: mix.Then(func(_ context.Context, run *mix.Running) error {
				dir, err := cgroupOf(int(run.Task.Pid()))
				if err != nil {
					return err
				}
				sibling = filepath.Join(filepath.Dir(dir), fmt.Sprintf("oomw-sibling-%d", i))
				if err := os.Mkdir(sibling, 0o755); err != nil {
					return err
				}
				for name, text := range map[string]string{"memory.max": fmt.Sprint(limit), "cgroup.procs": fmt.Sprint(run.Task.Pid())} {
					if err := os.WriteFile(filepath.Join(sibling, name), []byte(text), 0); err != nil {
						return err
					}
				}
				return nil
			}, mix.KillFromHost(syscall.SIGTERM)),
			Want: mix.Want{OOM: true, Status: 137, Init: oom.Yes, Cause: "unknown", Kills: 1},
		}
		o, err := r.Run(t.Context(), mix.Ours, moved, mix.ByWait)
		require.NoError(t, err)
		id, err := bpf.CgroupID(sibling)
		require.NoError(t, err)
		require.NoError(t, os.Remove(sibling))
		check(t, moved, o)
		require.Equal(t, oom.RuleInitVictim, o.Verdict.Rule)
		require.Len(t, o.Verdict.Victims, 1)
		require.Equal(t, id, o.Verdict.Victims[0].Limit)
		require.Equal(t, strings.TrimPrefix(sibling, cgroupRoot), logLine(t, "verdict", o.ID)["limit"], "the cgroup whose limit fired is named")
	}
}

// TestKillsElsewhere has more kills elsewhere, between a child's kill and a SIGKILL from
// the node, than the ledger's maps are sure to hold.
func TestKillsElsewhere(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	elsewhere := mix.Case{
		Name: "elsewhere", Container: mix.Container{Args: []string{"storm", "1100", "0"}, Limit: limit},
		Want: mix.Want{},
	}
	if hierarchy(t).Version == 2 { // a group of a hundred at once is faster
		elsewhere.Container = mix.Container{Args: []string{"groups", "11", "100", "0"}, Limit: 128 * mix.MiB, Nested: true}
	}
	c := causal{
		Case: mix.Case{
			Name:      "kills-elsewhere",
			Container: mix.Container{Args: []string{"child-oom-sleep"}, Limit: limit, Output: true},
			Act: steps(mix.ChildDied, func(ctx context.Context, _ *mix.Running) error {
				o, err := r.Run(ctx, mix.Ours, elsewhere, mix.ByWait)
				if err == nil && o.Status != 0 {
					err = fmt.Errorf("the others ended with %d", o.Status)
				}
				return err
			}, mix.KillFromHost(syscall.SIGKILL)),
			Want: mix.Want{Status: 137, Init: oom.No, Kills: 1},
		},
		rule: oom.RuleSender, ended: oom.EndedSignal, lineage: descendant, sender: "scenario.test",
	}
	before := meta(t).Victims
	o, err := r.Run(t.Context(), mix.Ours, c.Case, mix.ByWait)
	require.NoError(t, err)
	checkCausal(t, c, o)
	require.GreaterOrEqual(t, meta(t).Victims-before, uint64(1101), "the control")
}

// TestEvictedEntry takes the container's entry out of the ledger, as the kernel does
// where the map is full. One kill more is an OOM all the same.
func TestEvictedEntry(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	h := hierarchy(t)
	evict := func(_ context.Context, run *mix.Running) error {
		dir, err := h.PathOf(int(run.Task.Pid()))
		if err != nil {
			return err
		}
		id, err := bpf.CgroupID(filepath.Join(h.Mount, dir))
		if err != nil {
			return err
		}
		m, err := ebpf.LoadPinnedMap(current("by_cgroup"), nil)
		if err != nil {
			return err
		}
		defer m.Close()
		return m.Delete(id)
	}
	c := mix.Case{
		Name:      "evicted-entry",
		Container: mix.Container{Args: []string{"term-child-oom", "1", "1"}, Limit: limit, Output: true},
		Act:       mix.Then(evict, mix.After(11*time.Second), mix.KillFromHost(syscall.SIGTERM)),
		Want:      mix.Want{OOM: true, Status: 1},
	}
	for range runs(t) {
		o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
		require.NoError(t, err)
		check(t, c, o)
		require.Equal(t, oom.EndedOOM, o.Verdict.Ended)
	}
}

// TestFilledByTmpfs fills the limit with a file on tmpfs.
func TestFilledByTmpfs(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	c := mix.Case{
		Name: "tmpfs",
		Container: mix.Container{
			Args: []string{"fill", "/tmp/file"}, Limit: 48 * mix.MiB,
			Mounts: []specs.Mount{{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1g"}}},
		},
		Want: mix.Want{OOM: true, Status: 137, Init: oom.Yes},
	}
	for range runs(t) {
		o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
		require.NoError(t, err)
		check(t, c, o)
		m := o.Verdict.Memory
		if m == nil || len(m.Unknown) > 0 {
			require.Equal(t, "C", o.Verdict.Tier, "only tier C does not know what filled the memory")
			continue
		}
		require.Greater(t, m.Shmem, uint64(30*mix.MiB), "%+v", *m)
		require.Contains(t, logLine(t, "verdict", o.ID)["memory"], "shared memory")
	}
}

// TestSwappedVictim has 200 MiB and more of a victim in swap.
func TestSwappedVictim(t *testing.T) {
	r := runner(t)
	needV2(t)
	freshLedger(t)
	faultkit.SwapOn(t, 512*mix.MiB)
	c := mix.Case{
		Name:      "swapped",
		Container: mix.Container{Args: []string{"hog"}, Limit: 64 * mix.MiB, Swap: 256 * mix.MiB},
		Want:      mix.Want{OOM: true, Status: 137, Init: oom.Yes, Kills: 1},
	}
	o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
	require.NoError(t, err)
	checkWhole(t, c, o)
	require.Len(t, o.Verdict.Victims, 1)
	require.Greater(t, o.Verdict.Victims[0].Swap, uint64(200*mix.MiB), "%+v", o.Verdict.Victims[0])
}
