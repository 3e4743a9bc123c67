package bpf_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// memoryOf reads what filled the memory at a probe's newest kill.
func (k *kin) memoryOf(t *testing.T, p oom.Probe) oom.Memory {
	t.Helper()
	ev := k.evidence(t, p)
	require.NotNil(t, ev.Memory)
	t.Logf("metric=ledger-memory tier=%v %+v", k.status.Tier, *ev.Memory)
	return *ev.Memory
}

// TestMemory has shared memory fill most of a limit, and the rest an ordinary process.
func TestMemory(t *testing.T) {
	const shared = oomtest.RealLimit
	k := newKin(t)
	init := startIdle(t, k.dir)
	probe := k.arm(t, init)
	file := filepath.Join(tmpfs(t), "emptydir")
	writer := k.run(t, fmt.Sprintf("head -c %d /dev/zero >%s; read go; "+worker+"; true", shared, file), 0)
	writer.step(t)
	writer.step(t)
	require.NoError(t, writer.cmd.Wait())
	m := k.memoryOf(t, probe)
	const limit = 2 * oomtest.RealLimit
	require.EqualValues(t, limit, m.Limit)
	require.InDelta(t, limit, m.Usage, 4<<20)
	if slices.Contains(m.Unknown, "kinds") {
		t.Skip("needs the address of mem_cgroup_stats_index, which a kernel without CONFIG_KALLSYMS_ALL does not name")
	}
	require.InDelta(t, shared, m.Shmem, 2<<20)
	require.InDelta(t, limit-shared, m.Anon, 8<<20)
	require.Less(t, m.File, uint64(8<<20))
	if !slices.Contains(m.Unknown, "pageTables") { // 5.10 sums up in steps of 32 pages for each CPU
		require.Positive(t, m.Slab+m.Stacks)
	}
	require.Less(t, m.Kernel, uint64(16<<20))
	sum := m.Anon + m.File + m.Shmem + m.Kernel + m.Sockets
	require.InDelta(t, m.Usage, sum, 4<<20)
}

// tmpfs mounts one of the test's own.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// needScan skips where the candidates are not seen.
func (k *kin) needScan(t *testing.T) {
	t.Helper()
	if k.status.Tier == bpf.TierC {
		t.Skip("needs tier A or B, which see oom_evaluate_task")
	}
}

// sizedShell starts a shell that has so many KiB, and waits until it does.
func (k *kin) sizedShell(t *testing.T, kib int) *proc {
	t.Helper()
	p := startCommand(t, k.dir, exec.Command("sh", "-c",
		fmt.Sprintf(`x=$(head -c %d /dev/zero | tr '\0' x); echo up; read go`, kib<<10)))
	_, err := p.out.Read(make([]byte, 3))
	require.NoError(t, err)
	return p
}

// TestCandidates has more processes than are kept: the largest are, the largest first.
func TestCandidates(t *testing.T) {
	k := newKin(t)
	k.needScan(t)
	var shells []*proc
	for i := range 12 {
		shells = append(shells, k.sizedShell(t, 300+400*i))
	}
	probe := k.arm(t, shells[0])
	victim := hog(t, k.dir)
	m := k.memoryOf(t, probe)
	require.NotContains(t, m.Unknown, "candidates")
	require.Len(t, m.Candidates, 8)
	require.Equal(t, victim.pid(), m.Candidates[0].PID)
	require.Equal(t, "tail", m.Candidates[0].Comm)
	require.Equal(t, 1000, m.Candidates[0].ScoreAdj)
	for i, c := range m.Candidates[1:] {
		require.Equal(t, shells[11-i].pid(), c.PID, "%d", i)
		require.Equal(t, "sh", c.Comm)
		require.Less(t, c.RSS, m.Candidates[i].RSS)
	}
}

// TestScanCost has the kernel measure a scan over SCAN candidates.
func TestScanCost(t *testing.T) {
	k := newKin(t)
	k.needScan(t)
	n := number(t, "SCAN", 200)
	k.dir = k.cgroup(t, "crowd", 0)
	never, keep, err := os.Pipe()
	require.NoError(t, err)
	defer never.Close()
	defer keep.Close()
	cmd := exec.Command("sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do ( read go <&3 ) & i=$((i+1)); done; echo up; read go", n))
	cmd.ExtraFiles = []*os.File{never}
	crowd := startCommand(t, k.dir, cmd)
	_, err = crowd.out.Read(make([]byte, 3))
	require.NoError(t, err)
	probe := k.arm(t, crowd)
	k.limitToUsage(t, 16<<20)
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	require.NoError(t, err)
	defer stats.Close()
	costs := k.costWith(t, 1, func() { hog(t, k.dir) })
	for name, c := range costs {
		if strings.HasPrefix(name, "candidate_") {
			require.GreaterOrEqual(t, c.runs, uint64(n))
			t.Logf("metric=ledger-scan tier=%v candidates=%d ns=%d each=%d", k.status.Tier, c.runs, c.time.Nanoseconds(), c.each())
		}
	}
	require.Len(t, k.memoryOf(t, probe).Candidates, 8)
	require.NoError(t, keep.Close()) // all of them end
	_, err = crowd.in.Write([]byte("\n"))
	require.NoError(t, err)
	require.NoError(t, crowd.cmd.Wait())
}

// limitToUsage sets a limit of the cgroup that is so much above what it has.
func (k *kin) limitToUsage(t *testing.T, above int) {
	t.Helper()
	files := map[int][2]string{1: {"memory.usage_in_bytes", "memory.limit_in_bytes"}, 2: {"memory.current", "memory.max"}}[k.h.Version]
	data, err := os.ReadFile(filepath.Join(k.dir, files[0]))
	require.NoError(t, err)
	usage, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(k.dir, files[1]), []byte(strconv.Itoa(usage+above)), 0o644))
}
