package oom

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVerdictInJSON(t *testing.T) {
	v := Verdict{
		OOMKilled: true, Cause: CauseNode, Init: No, Kills: 2, Ended: EndedOOM, Rule: RulePassedOn, Lineage: LineageDescendant,
		Sent: No, Evidence: "ledger",
	}
	data, err := json.Marshal(v)
	require.NoError(t, err)
	require.JSONEq(t, `{"oomKilled":true,"cause":"node","initVictim":"no","kills":2,"ended":"oom","rule":"5a",
		"lineage":"descendant","sigkillSent":"no","evidence":"ledger"}`, string(data))
	var back Verdict
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, v, back)
	require.NoError(t, json.Unmarshal([]byte(`{"initVictim":"perhaps"}`), &back))
	require.Equal(t, Unknown, back.Init)
}

func TestRefusedRules(t *testing.T) {
	for _, bad := range []string{"0", "1", "7", "-1", `""`, `"5"`, `"9"`, `"5c"`, "[]", "1.5"} {
		var v Verdict
		require.ErrorContains(t, json.Unmarshal([]byte(`{"rule":`+bad+`}`), &v), "rule")
	}
}

func TestLogFields(t *testing.T) {
	sender := Sender{PID: 812, Comm: "earlyoom", CgroupPath: "/system.slice/earlyoom.service"}
	memory := Memory{Usage: 24 << 20, Limit: 24 << 20, Shmem: 20 << 20, Anon: 3 << 20}
	for name, tc := range map[string]struct {
		verdict  Verdict
		status   int
		reported int
		want     map[string]any // nil for a field that is not there
	}{
		"a known sender": {
			Verdict{Rule: RuleSender, Sent: Yes, Sender: &sender}, 137, 137,
			map[string]any{"sender": "earlyoom[812] uid 0 in /system.slice/earlyoom.service", "lineage": nil, "reported_status": nil},
		},
		"counters alone": {
			Verdict{Rule: RuleCounters, OOMKilled: true, Kills: 1}, 137, 99,
			map[string]any{"sender": "unknown", "lineage": "unknown", "memory": nil, "reported_status": 99},
		},
		"init a victim": {
			Verdict{Rule: RuleInitVictim, OOMKilled: true, Init: Yes, Kills: 1, Lineage: LineageInit, Memory: &memory}, 137, 137,
			map[string]any{"sender": nil, "lineage": "init", "memory": "24.0 MiB of 24.0 MiB: shared memory 20.0 MiB, anonymous 3.0 MiB"},
		},
		"a limit of nobody's": {
			Verdict{Rule: RuleInitVictim, OOMKilled: true, Cause: CauseUnknown, Init: Yes, Kills: 1, Lineage: LineageInit, Victims: []Victim{
				{Lineage: LineageInit, Limit: 9, LimitPath: "/sibling"}, {Lineage: LineageDescendant, Limit: 8},
			}}, 137, 137, map[string]any{"limit": "/sibling"},
		},
		"a limit of nobody's, which is gone": {
			Verdict{Rule: RuleWithinGrace, OOMKilled: true, Cause: CauseUnknown, Kills: 1, Victims: []Victim{{Limit: 9}}}, 1, 1,
			map[string]any{"limit": "cgroup 9"},
		},
		"a plain exit": {Verdict{Rule: RuleNothingKnown}, 3, 3, map[string]any{"sender": nil, "lineage": nil, "memory": nil, "limit": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			fields := tc.verdict.LogFields("c", Exit{Pid: 7, Status: tc.status, At: time.Now()}, tc.reported, true)
			require.Equal(t, tc.verdict.Rule, fields["rule"])
			for field, want := range tc.want {
				require.Equal(t, want, fields[field], field)
			}
		})
	}
}

func TestTextOfSizesAndSenders(t *testing.T) {
	require.Equal(t, "512 B of 1.0 KiB", Memory{Usage: 512, Limit: 1024}.String())
	require.Equal(t, "3.0 TiB: page cache 2048.0 TiB", Memory{Usage: 3 << 40, File: 1 << 51}.String())
	require.Equal(t, "kernel", Sender{}.String())
	require.Equal(t, "bash[4] uid 1000", Sender{PID: 4, Comm: "bash", UID: 1000}.String())
}
