package bpf_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// Capabilities by their numbers.
const sysAdmin, sysResource, perfmon, bpfCap = "21", "24", "38", "39"

// TestCapabilities drops what loading needs; the error names it.
func TestCapabilities(t *testing.T) {
	b := newBench(t)
	tier := b.status.Tier
	require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	for _, test := range []struct{ drop, want, not string }{
		{sysAdmin + "," + bpfCap, "CAP_BPF", "CAP_PERFMON and"},
		{sysAdmin + "," + perfmon, "CAP_PERFMON", "CAP_BPF and"},
		{sysAdmin + "," + bpfCap + "," + perfmon, "CAP_BPF and CAP_PERFMON", "CAP_NET"},
	} {
		out, err := b.loader(tier, bpf.ABI, bpf.Version, test.drop).CombinedOutput()
		require.Error(t, err, "%s", out)
		require.Contains(t, string(out), test.want)
		require.NotContains(t, string(out), test.not)
		require.Empty(t, b.generations(t))
	}
	if tier == bpf.TierB {
		b.perfForbidden(t)
	}
	out, err := b.loader(tier, bpf.ABI, bpf.Version, sysAdmin).CombinedOutput()
	require.NoError(t, err, "CAP_BPF and CAP_PERFMON are enough: %s", out)
}

// perfForbidden raises kernel.perf_event_paranoid to Debian's level, where the
// kernel has it: kprobes then need CAP_SYS_ADMIN, and the error says so. It leaves
// it at the level of other kernels until the test is over.
func (b *bench) perfForbidden(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/kernel/perf_event_paranoid"
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.WriteFile(file, before, 0o644)) })
	require.NoError(t, os.WriteFile(file, []byte("3"), 0o644))
	out, err := b.loader(bpf.TierB, bpf.ABI, bpf.Version, sysAdmin).CombinedOutput()
	if err == nil {
		t.Log("this kernel has no such level")
		require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
	} else {
		require.Contains(t, string(out), "needs CAP_SYS_ADMIN while kernel.perf_event_paranoid is 3")
		require.Empty(t, b.generations(t))
	}
	require.NoError(t, os.WriteFile(file, []byte("2"), 0o644))
}

// TestLockedLimit: kernels before 5.11 count maps against RLIMIT_MEMLOCK, which
// CAP_SYS_RESOURCE may lift.
func TestLockedLimit(t *testing.T) {
	b := newBench(t)
	for _, drop := range []string{"", sysResource} {
		require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
		cmd := b.loader(b.status.Tier, bpf.ABI, bpf.Version, drop)
		cmd.Env = append(cmd.Env, memlockEnv+"=65536")
		out, err := cmd.CombinedOutput()
		if err == nil {
			continue
		}
		require.Equal(t, sysResource, drop, "%s", out)
		require.Contains(t, string(out), "needs CAP_SYS_RESOURCE")
		require.Contains(t, string(out), "RLIMIT_MEMLOCK is 65536")
		t.Log("this kernel counts maps")
	}
}

// TestMount: where nobody has mounted the BPF filesystem at its usual place, a
// loader does, for which it needs CAP_SYS_ADMIN.
func TestMount(t *testing.T) {
	b := newBench(t)
	there := *b // a copy: b's own folder is what is unloaded in the end, never the node's
	there.opts.Dir = bpf.DefaultDir
	for _, drop := range []string{"", sysAdmin} {
		cmd := there.loader(b.status.Tier, bpf.ABI, bpf.Version, drop)
		cmd.Env = append(cmd.Env, noBPFFSEnv+"=1")
		out, err := cmd.CombinedOutput()
		if drop == "" {
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "true")
			continue
		}
		require.Error(t, err, "%s", out)
		require.Contains(t, string(out), "needs CAP_SYS_ADMIN")
	}
}

// TestUnreadable: who may not read the ledger learns what is missing.
func TestUnreadable(t *testing.T) {
	b := newBench(t)
	out, err := b.opener("nobody").CombinedOutput()
	require.Error(t, err)
	require.Regexp(t, "true .*permission denied", string(out))
	out, err = b.opener(sysAdmin).CombinedOutput()
	require.NoError(t, err, "CAP_BPF is enough: %s", out)
	out, err = b.opener(sysAdmin + "," + bpfCap).CombinedOutput()
	if err == nil {
		t.Log("this kernel lets root read maps without CAP_BPF, as all do from 5.19 on")
		return
	}
	require.Regexp(t, "true .*needs CAP_BPF", string(out))
}

// opener is a command that reads the ledger, as nobody or with capabilities
// given up.
func (b *bench) opener(drop string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", b.opts.Dir, drop)
	cmd.Env = append(os.Environ(), helperEnv+"=open")
	return cmd
}

// foreignMaps are maps that are not the ledger's: of another kind, and of meta's
// kind with values that are too short for it.
var foreignMaps = map[string]*ebpf.MapSpec{
	"hash":  {Type: ebpf.Hash, KeySize: 3, ValueSize: 3, MaxEntries: 1},
	"array": {Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
}

// eachForeignPin runs a test with each foreign map in the place of each of those
// named.
func eachForeignPin(t *testing.T, names []string, run func(*testing.T, *bench)) {
	t.Helper()
	for _, name := range names {
		for kind, spec := range foreignMaps {
			t.Run(name+"/"+kind, func(t *testing.T) {
				b := newBench(t)
				foreign, err := ebpf.NewMap(spec)
				require.NoError(t, err)
				defer foreign.Close()
				pin := filepath.Join(b.opts.Dir, "current", name)
				require.NoError(t, os.Remove(pin))
				require.NoError(t, foreign.Pin(pin))
				run(t, b)
			})
		}
	}
}

// TestMissingPin: without a map there is no answer.
func TestMissingPin(t *testing.T) {
	for _, name := range []string{"by_task", "by_cgroup", "meta"} {
		b := newBench(t)
		require.NoError(t, os.Remove(filepath.Join(b.opts.Dir, "current", name)))
		_, err := bpf.Open(b.opts.Dir)
		require.ErrorIs(t, err, bpf.ErrRetired, name)
	}
}

// TestForeignMap puts another map in the place of one of the ledger's: no answer
// comes of it, and the next load makes it good.
func TestForeignMap(t *testing.T) {
	eachForeignPin(t, []string{"by_task", "by_cgroup", "meta"}, func(t *testing.T, b *bench) {
		_, err := bpf.Open(b.opts.Dir)
		require.ErrorIs(t, err, bpf.ErrRetired)
		st, err := bpf.Load(b.opts)
		require.NoError(t, err)
		require.True(t, st.Loaded)
		dir := b.cgroup(t, "c", 8<<20)
		record(t, b.open(t), hog(t, dir))
		require.Len(t, b.generations(t), 1)
	})
}

// TestUnloadForeign unloads a ledger whose pins are not the ledger's any more.
func TestUnloadForeign(t *testing.T) {
	eachForeignPin(t, []string{"by_task", "by_cgroup", "meta", "events"}, func(t *testing.T, b *bench) {
		require.NoError(t, bpf.Unload(b.opts.Dir, b.opts.LockDir))
		require.NoDirExists(t, b.opts.Dir)
	})
}
