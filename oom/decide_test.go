package oom

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecide(t *testing.T) {
	for name, tc := range rows {
		t.Run(name, func(t *testing.T) {
			v := Decide(Case{Exit: Exit{Status: tc.status, At: end}, Stops: tc.stops, Evidence: []Evidence{tc.e}, Grace: grace})
			require.Equal(t, tc.rule, v.Rule)
			require.Equal(t, tc.ended, v.Ended)
			require.Equal(t, tc.lineage, v.Lineage)
			require.Equal(t, tc.ended == EndedOOM, v.OOMKilled)
			require.Equal(t, tc.e.Source, v.Evidence)
			require.Equal(t, tc.e.Sent, v.Sent)
			require.Equal(t, tc.e.Victims, v.Victims)
			if tc.rule == RuleSender {
				require.Equal(t, tc.e.Sender, v.Sender)
			}
		})
	}
}

// Every rule decides some row, so that a rule which is never reached shows.
func TestEveryRuleHasARow(t *testing.T) {
	decided := map[Rule]bool{}
	for _, tc := range rows {
		decided[tc.rule] = true
	}
	for _, r := range rules {
		require.True(t, decided[r], "rule %s", r)
	}
}

func TestDecideWithoutEvidence(t *testing.T) {
	v := Decide(Case{Exit: Exit{Status: 137, At: end}, Grace: grace})
	require.Equal(t, Verdict{Rule: RuleNothingKnown, Ended: EndedSignal, Evidence: "none"}, v)
}

// A dead shim's container has the status 137 where nobody has its status. Such a status
// is not one that init passed on.
func TestAStatusThatNobodyHas(t *testing.T) {
	for name, tc := range map[string]struct {
		e     Evidence
		stops []Stop
		rule  Rule
		ended Ended
	}{
		"an old kill":                         {ledger(died(child, hour)), nil, "8", EndedExited},
		"a new kill":                          {ledger(died(child, second)), nil, "5b", EndedOOM},
		"an old kill, counters":               {counters(1, hour), nil, "7", EndedOOM},
		"a sender":                            {sent(killer, died(child, second)), nil, "2", EndedSignal},
		"a stop, then a kill":                 {ledger(died(child, 0)), stops(asked(term, second)), "3", EndedStopped},
		"a stop, then one that may be init's": {counters(1, 0), stops(asked(term, second)), "7", EndedOOM},
	} {
		t.Run(name, func(t *testing.T) {
			v := Decide(Case{Exit: Exit{Status: 137, StatusUnknown: true, At: end}, Stops: tc.stops, Evidence: []Evidence{tc.e}, Grace: grace})
			require.Equal(t, tc.rule, v.Rule)
			require.Equal(t, tc.ended, v.Ended)
		})
	}
}

// The cause is that of the kill which decided, and not of the newest.
func TestTheCauseIsTheDecidingKills(t *testing.T) {
	victim, later := died(child, second), died(execd, 0)
	victim.Cause, later.Cause = CauseAncestor, CauseContainer
	e := ledger(victim, later)
	e.Memory = &Memory{Usage: 1}
	v := Decide(Case{Exit: Exit{Status: 1, At: end}, Evidence: []Evidence{e}, Grace: grace})
	require.Equal(t, CauseAncestor, v.Cause)
	require.Equal(t, e.Memory, v.Memory)

	later.Seq = 1
	e.Victims[1].Seq = 1
	require.Nil(t, Decide(Case{Exit: Exit{Status: 1, At: end}, Evidence: []Evidence{e}, Grace: grace}).Memory,
		"what filled the memory at a later OOM event")

	init := died(LineageInit, second)
	init.Cause = CauseNode
	v = Decide(Case{Exit: Exit{Status: 137, At: end}, Evidence: []Evidence{ledger(init, later)}, Grace: grace})
	require.Equal(t, CauseNode, v.Cause)

	v = Decide(Case{Exit: Exit{Status: 137}, Evidence: []Evidence{{Source: "s", Kills: 1}}})
	require.Equal(t, CauseUnknown, v.Cause, "an unknown cause is said to be")
	v = Decide(Case{Exit: Exit{Status: 3, At: end}, Evidence: []Evidence{e}})
	require.Equal(t, CauseNone, v.Cause)
	require.Nil(t, v.Memory)
}

// A source that has missed a kill is not the best. The sender that it has seen is one all
// the same.
func TestTheSenderOfAWeakerSource(t *testing.T) {
	missed := sent(killer)
	v := Decide(Case{Exit: Exit{Status: 137, At: end}, Evidence: []Evidence{counters(1, second), missed}, Grace: grace})
	require.Equal(t, RuleSender, v.Rule)
	require.Equal(t, killer, v.Sender)

	v = Decide(Case{Exit: Exit{Status: 137, At: end}, Evidence: []Evidence{counters(1, second), ledger()}, Grace: grace})
	require.Equal(t, RuleCounters, v.Rule, "that it has seen none proves nothing")
	require.Equal(t, Unknown, v.Sent)
}
