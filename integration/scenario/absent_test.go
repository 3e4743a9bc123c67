//go:build linux

package scenario

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	counters = "memory.events"
	ledger   = "ledger"
	notArmed = "a source of OOM evidence can't be had for this container"
	notRead  = "exit gate: ledger not read"
)

// needCgroupfs skips where a cgroup may be gone before its counters are read: no
// verdict is certain there without a ledger.
func needCgroupfs(t *testing.T) {
	t.Helper()
	if mix.DriverHere() != mix.Cgroupfs {
		t.Skip("needs the cgroupfs driver: systemd may remove a cgroup before its counters are read")
	}
}

func current(name string) string { return filepath.Join(bpf.DefaultDir, "current", name) }

// refusal is what makes a shim not try again to load the ledger.
var refusal = filepath.Join(bpf.DefaultLockDir, "refused")

// refuse takes the ledger away, and has shims take it for one that this node
// can't have.
func refuse(t *testing.T) {
	t.Helper()
	output(t, oomwitness, "unload")
	require.NoError(t, os.WriteFile(refusal, []byte("for a test\n"), 0o600))
}

// laterABI makes the ledger one of a later oomwitness.
func laterABI(t *testing.T) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(current("meta"), nil)
	require.NoError(t, err)
	defer m.Close()
	about, err := m.LookupBytes(uint32(0))
	require.NoError(t, err)
	about[0]++ // the ABI, little endian
	require.NoError(t, m.Put(uint32(0), about))
}

// otherMap pins a map of another kind in the place of one of the ledger's.
func otherMap(name string) func(*testing.T) {
	return func(t *testing.T) {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, os.Remove(current(name)))
		require.NoError(t, m.Pin(current(name)))
	}
}

func unpin(t *testing.T) { require.NoError(t, os.RemoveAll(bpf.DefaultDir)) }

func unload(t *testing.T) { output(t, oomwitness, "unload") }

// restore puts a ledger back in the place of whatever is there, and has shims
// forget that one was refused: they would mend none for minutes.
func restore(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(refusal))
	unpin(t)
	output(t, oomwitness, "load")
}

// TestWithoutLedger creates containers where the ledger can't be had. Counters
// decide then, and the shim says once why. What is only damaged is mended by the
// shim that starts.
func TestWithoutLedger(t *testing.T) {
	r := runner(t)
	needCgroupfs(t)
	for name, c := range map[string]struct {
		spoil    func(*testing.T)
		evidence string
	}{
		"refused": {refuse, counters}, "later-ABI": {laterABI, counters},
		"by_cgroup": {otherMap("by_cgroup"), ledger}, "meta": {otherMap("meta"), ledger},
	} {
		t.Run(name, func(t *testing.T) {
			freshLedger(t)
			t.Cleanup(func() { restore(t) })
			c.spoil(t)
			pod := "podwithout" + name[:2]
			ids := []string{hold(t, r, pod).ID()}
			for _, which := range []string{"child-oom-exit-1", "init-oom", "exit-3"} {
				ends, err := mix.Find(which)
				require.NoError(t, err)
				ends.Pod = pod
				o, err := r.Run(t.Context(), mix.Ours, ends, mix.ByWait)
				require.NoError(t, err)
				check(t, ends, o)
				require.Equal(t, c.evidence, o.Verdict.Evidence)
				require.Equal(t, c.evidence, logLine(t, "verdict", o.ID)["evidence"])
				ids = append(ids, o.ID)
			}
			if c.evidence == ledger {
				return
			}
			for i, id := range ids {
				line := logLine(t, notArmed, id)
				require.Equal(t, []string{"1", "2", "3", "4"}[i], line["total"])
				require.Equal(t, map[bool]string{true: "warning", false: "debug"}[i == 0], line["level"])
			}
		})
	}
}

// TestLedgerLost takes the ledger away under a container that runs. A shim that
// has its maps open goes on with them where no map and no link has gone.
func TestLedgerLost(t *testing.T) {
	r := runner(t)
	needCgroupfs(t)
	for name, c := range map[string]struct {
		spoil    func(*testing.T)
		evidence string
	}{
		"unloaded": {unload, counters}, "unpinned": {unpin, counters}, "loaded-again": {freshLedger, counters},
		"later-ABI": {laterABI, ledger}, "by_task": {otherMap("by_task"), ledger}, "meta": {otherMap("meta"), ledger},
	} {
		t.Run(name, func(t *testing.T) {
			freshLedger(t)
			t.Cleanup(func() { restore(t) })
			lost := mix.Case{
				Name:      "lost",
				Container: mix.Container{Args: []string{"term-hog"}, Limit: 24 * mix.MiB, Output: true},
				Act: mix.Then(func(context.Context, *mix.Running) error {
					c.spoil(t)
					return nil
				}, mix.KillFromHost(syscall.SIGTERM)),
				Want: mix.Want{OOM: true, Status: 137, Cause: "container"},
			}
			o, err := r.Run(t.Context(), mix.Ours, lost, mix.ByWait)
			require.NoError(t, err)
			check(t, lost, o)
			t.Logf("verdict %+v", *o.Verdict)
			require.Equal(t, c.evidence, o.Verdict.Evidence)
			if c.evidence == ledger {
				return
			}
			require.Equal(t, oom.Unknown, o.Verdict.Init)
			require.Equal(t, oom.RuleCounters, o.Verdict.Rule)
			require.Equal(t, "1", logLine(t, notRead, o.ID)["total"])
		})
	}
}

// TestRingFull fills the ring with more kills than it holds while nobody reads.
// Maps and verdicts must not notice.
func TestRingFull(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	const rounds, size = 29, 100
	c := mix.Case{
		Name:      "ring-full",
		Container: mix.Container{Args: []string{"groups", "29", "100", "1"}, Limit: 128 * mix.MiB, Nested: true},
		Want:      mix.Want{OOM: true, Status: 1, Cause: "container", Kills: rounds * size},
	}
	o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
	require.NoError(t, err)
	check(t, c, o)
	require.EqualValues(t, rounds*size, o.Verdict.Kills)
	m := meta(t)
	t.Logf("%d victims, %d without room in the ring", m.Victims, m.LostRing)
	require.EqualValues(t, rounds*size, m.Victims)
	require.Positive(t, m.LostRing, "the control")
	for _, which := range []string{"init-oom", "child-oom-exit-1", "exit-3"} {
		next, err := mix.Find(which)
		require.NoError(t, err)
		o, err := r.Run(t.Context(), mix.Ours, next, mix.ByWait)
		require.NoError(t, err)
		checkWhole(t, next, o)
	}
	require.Greater(t, meta(t).LostRing, m.LostRing, "the ring is still full")
}
