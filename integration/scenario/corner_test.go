//go:build linux

package scenario

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// TestCorners runs the cases that only the ledger can distinguish, and compares the ledger's
// record of each.
func TestCorners(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	for _, c := range mix.Corners() {
		t.Run(c.Name, func(t *testing.T) {
			before := meta(t)
			o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
			require.NoError(t, err)
			checkWhole(t, c, o)
			checkRecords(t, c, o, before)
		})
	}
	require.Zero(t, r.Strangers(), "TaskOOM for a container that nobody made")
}

// TestEndingInit has the kernel kill all of a container when init is exiting by itself: init
// is among the victims, and keeps its own status.
func TestEndingInit(t *testing.T) {
	r := runner(t)
	needV2(t)
	freshLedger(t)
	c := causal{
		Case: mix.Case{
			Name:      "ending",
			Container: mix.Container{Args: []string{"ending", "3"}, Limit: limit, Unified: map[string]string{"memory.oom.group": "1"}},
			Want:      mix.Want{Status: 3, Init: oom.No, Kills: 2},
		},
		rule: oom.RuleNothingKnown, ended: oom.EndedExited,
	}
	for range runs(t) {
		o, err := r.Run(t.Context(), mix.Ours, c.Case, mix.ByWait)
		require.NoError(t, err)
		checkCausal(t, c, o)
		last := o.Verdict.Victims[len(o.Verdict.Victims)-1]
		require.Equal(t, oom.LineageInit, last.Lineage, "the control: init was killed")
	}
}

// checkRecords looks at the ledger's records of a case. No other is under way.
func checkRecords(t *testing.T, c mix.Case, o mix.Outcome, before bpf.Meta) {
	t.Helper()
	now, records := meta(t), recordsAfter(t, before.Seq)
	require.Equal(t, c.Want.Kills, o.Verdict.Kills)
	switch c.Name {
	case "dying":
		require.Greater(t, now.NotKilled, before.NotKilled, "the control: it was marked")
		require.Empty(t, records)
		return
	case "killed-outside":
		require.Len(t, records, 1, "the control: it was killed")
		require.Equal(t, "oomwitness-work", records[0].Comm.String())
		require.Zero(t, records[0].Flags&bpf.FlagNSInit)
		require.Equal(t, bpf.ConstraintNone, records[0].Constraint)
		return
	}
	require.Len(t, records, int(c.Want.Kills))
	require.Equal(t, before.Victims+c.Want.Kills, now.Victims)
	inits, sharers, seqs, places := 0, 0, map[uint64]bool{}, map[uint32]bool{}
	for _, rec := range records {
		require.Equal(t, records[0].Cgroup, rec.Cgroup)
		require.Equal(t, c.Name == "leaderless", rec.TID != rec.TGID, "the first thread has ended")
		seqs[rec.Seq], places[rec.Index] = true, true
		require.Equal(t, c.Name == "group-of-five", rec.Flags&bpf.FlagOOMGroup != 0, "memory.oom.group")
		if rec.Flags&bpf.FlagNSInit != 0 {
			inits++
		}
		if rec.Flags&bpf.FlagShared != 0 {
			sharers++
		}
	}
	require.Equal(t, c.Want.Init == oom.Yes, inits == 1, "%d inits", inits)
	if c.Name == "storm" {
		require.Len(t, seqs, len(records), "events")
	} else {
		require.Len(t, seqs, 1, "events")
		require.Len(t, places, len(records), "places in the event")
	}
	require.Equal(t, map[string]int{"sharer-init": 1, "sharer-child": 1}[c.Name], sharers, "sharers")
}
