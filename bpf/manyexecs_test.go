package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// execs kills n processes that the shim has started, not init.
func (f *full) execs(t *testing.T, n int) {
	t.Helper()
	byTask := f.coll.Maps[mapByTask]
	for range n {
		f.victim(t, f.next, fullContainer)
		key := TaskKey{TGID: f.next}
		var r Record
		require.NoError(t, byTask.Lookup(&key, &r))
		r.Ancestors[0], r.Depth = f.probe.family.shim.ref(), 1
		require.NoError(t, byTask.Update(&key, &r, ebpf.UpdateExist))
		f.next++
	}
}

// TestManyExecs kills more exec'd processes than an Evidence names: that is no cause of an
// exit, and hides no victim before.
func TestManyExecs(t *testing.T) {
	decide := func(e oom.Evidence, status int) oom.Verdict {
		at := time.Now()
		return oom.Decide(oom.Case{Exit: oom.Exit{Status: status, At: at}, Evidence: []oom.Evidence{e}, Grace: time.Minute})
	}
	f := newFull(t)
	f.probe.family.shim = TaskKey{TGID: 2}
	f.probe.watched = true
	for _, n := range []int{oom.MaxVictims, 1, 30} {
		f.execs(t, n)
		ev, err := f.read(t)
		require.NoError(t, err)
		require.Len(t, ev.Victims, oom.MaxVictims)
		require.EqualValues(t, ev.Kills, len(ev.Victims)+int(ev.Execs))
		require.Equal(t, oom.No, ev.Init)
		for _, status := range []int{3, 137} {
			v := decide(ev, status)
			require.Equal(t, oom.RuleExec, v.Rule, "%d after %d kills", status, ev.Kills)
			require.False(t, v.OOMKilled)
		}
	}

	f.victim(t, 100, fullContainer)
	f.execs(t, oom.MaxVictims+9)
	ev, err := f.read(t)
	require.NoError(t, err)
	require.Equal(t, 100, ev.Victims[0].PID)
	require.Len(t, ev.Victims, oom.MaxVictims)
	require.EqualValues(t, 10, ev.Execs)
	require.Equal(t, oom.RuleWithinGrace, decide(ev, 3).Rule)

	f.execs(t, maxWalked)
	ev, err = f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, maxWalked-oom.MaxVictims, ev.Execs, "more are not looked at")
	require.Greater(t, ev.Kills, uint64(maxWalked))
	require.True(t, decide(ev, 3).OOMKilled)
}
