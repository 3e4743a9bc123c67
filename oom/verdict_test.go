package oom

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDecide(t *testing.T) {
	const grace = 5 * time.Second
	end := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	killed := func(ago time.Duration, init Known) []Evidence {
		return []Evidence{{Source: "s", Kills: 1, Last: end.Add(-ago), Init: init, Cause: CausePod}}
	}
	none := []Evidence{{Source: "s"}}
	term := []Stop{{Signal: unix.SIGTERM}}
	for name, tc := range map[string]struct {
		status   int
		stops    []Stop
		evidence []Evidence
		oom      bool
		rule     Rule
		ended    Ended
	}{
		"ledger: init a victim":                        {137, nil, killed(0, Yes), true, 1, EndedOOM},
		"ledger: init a victim, stop asked":            {137, []Stop{{Signal: unix.SIGKILL}}, killed(0, Yes), true, 1, EndedOOM},
		"ledger: init a victim, exit code set":         {0, nil, killed(0, Yes), true, 1, EndedOOM},
		"ledger: old child kill, SIGKILL by another":   {137, nil, killed(time.Hour, No), false, 6, EndedSignal},
		"ledger: child kill just now, SIGKILL follows": {137, nil, killed(time.Second, No), true, 4, EndedOOM},
		"stopped by SIGKILL":                           {137, []Stop{{Signal: unix.SIGKILL}}, killed(0, Unknown), false, 2, EndedStopped},
		"stopped by SIGTERM, 143, child killed":        {143, term, killed(time.Second, Unknown), false, 2, EndedStopped},
		"stopped by SIGTERM, own status":               {7, term, killed(time.Second, Unknown), false, 2, EndedStopped},
		"SIGTERM asked, then a new kill and SIGKILL":   {137, term, killed(0, Unknown), true, 4, EndedOOM},
		"SIGTERM asked after the kill, then SIGKILL":   {137, []Stop{{Signal: unix.SIGTERM, Kills: 1}}, killed(0, Unknown), false, 2, EndedStopped},
		"SIGTERM asked, ledger says not init":          {137, term, killed(0, No), false, 2, EndedStopped},
		"image's stop signal, its status":              {131, []Stop{{Signal: unix.SIGQUIT}}, none, false, 2, EndedStopped},
		"a reload is no stop":                          {137, []Stop{{Signal: unix.SIGHUP}}, killed(0, Unknown), true, 4, EndedOOM},
		"exit 0 after a kill":                          {0, nil, killed(0, Unknown), false, 3, EndedExited},
		"worker killed, parent gives up":               {1, nil, killed(time.Second, Unknown), true, 4, EndedOOM},
		"worker killed, at the grace":                  {1, nil, killed(grace, Unknown), true, 4, EndedOOM},
		"worker killed long ago":                       {1, nil, killed(grace+1, Unknown), false, 6, EndedExited},
		"137 unasked, an old kill, no ledger":          {137, nil, killed(time.Hour, Unknown), true, 5, EndedOOM},
		"137 unasked, no kill":                         {137, nil, none, false, 6, EndedSignal},
		"137 unasked, no evidence":                     {137, nil, nil, false, 6, EndedSignal},
		"plain exit":                                   {3, nil, none, false, 6, EndedExited},
		"status 128 is no signal":                      {128, nil, none, false, 6, EndedExited},
	} {
		t.Run(name, func(t *testing.T) {
			v := Decide(Case{Exit: Exit{Status: tc.status, At: end}, Stops: tc.stops, Evidence: tc.evidence, Grace: grace})
			require.Equal(t, tc.oom, v.OOMKilled)
			require.Equal(t, tc.rule, v.Rule)
			require.Equal(t, tc.ended, v.Ended)
			if tc.oom {
				require.Equal(t, CausePod, v.Cause)
			} else {
				require.Equal(t, CauseNone, v.Cause)
			}
			if tc.evidence == nil {
				require.Equal(t, "none", v.Evidence)
			} else {
				require.Equal(t, "s", v.Evidence)
			}
		})
	}
}

func TestAnUnknownCauseIsSaidToBe(t *testing.T) {
	v := Decide(Case{Exit: Exit{Status: 137}, Evidence: []Evidence{{Source: "s", Kills: 1}}})
	require.Equal(t, CauseUnknown, v.Cause)
}

func TestVerdictInJSON(t *testing.T) {
	v := Verdict{OOMKilled: true, Cause: CauseNode, Init: Yes, Kills: 2, Ended: EndedOOM, Rule: 1, Evidence: "ledger"}
	data, err := json.Marshal(v)
	require.NoError(t, err)
	require.JSONEq(t, `{"oomKilled":true,"cause":"node","initVictim":"yes","kills":2,"ended":"oom","rule":1,"evidence":"ledger"}`, string(data))
	var back Verdict
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, v, back)
	require.NoError(t, json.Unmarshal([]byte(`{"initVictim":"perhaps"}`), &back))
	require.Equal(t, Unknown, back.Init)
}
