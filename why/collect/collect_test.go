package collect_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func exit(id, container string, ago time.Duration, v oom.Verdict) exits.Exit {
	v.Evidence, v.Rule = "ledger", oom.RuleInitVictim
	return exits.Exit{
		ID: id, Pid: 7, Boot: "b", At: now.Add(-ago), Status: 137, Reported: 137, Verdict: v,
		Pod:    &exits.Pod{Namespace: "shop", Name: "web-1", UID: "u", Container: container},
		Memory: &exits.Memory{Peak: new(uint64(2)), Limit: new(uint64(3))},
	}
}

var (
	killed  = oom.Verdict{OOMKilled: true, Ended: oom.EndedOOM, Cause: oom.CausePod, Kills: 1}
	byOther = oom.Verdict{Ended: oom.EndedSignal}
)

func build(q collect.Query, s collect.Sources) why.Document { return collect.Build(q, &s, now) }

func because(t *testing.T, r why.Run, field string) string {
	t.Helper()
	for _, m := range r.Missing {
		if m.Field == field {
			return m.Because
		}
	}
	require.Fail(t, "not missing", "%s: %+v", field, r.Missing)
	return ""
}

// TestQuery: who is asked for.
func TestQuery(t *testing.T) {
	s := collect.Sources{
		Exits:   []exits.Exit{exit("aa11", "app", time.Hour, killed), exit("aa22", "sidecar", time.Minute, byOther), {ID: "bb", At: now}},
		Running: []collect.Running{{Ref: collect.Ref{ID: "cc", Name: "app", Pod: &why.Pod{Namespace: "shop", Name: "web-2"}}, PID: 9}},
	}
	for name, tc := range map[string]struct {
		q    collect.Query
		want []string
	}{
		"all":                 {collect.Query{}, []string{"cc", "bb", "aa22", "aa11"}},
		"pod":                 {collect.Query{Namespace: "shop", Pod: "web-1"}, []string{"aa22", "aa11"}},
		"another namespace":   {collect.Query{Namespace: "other", Pod: "web-1"}, nil},
		"container":           {collect.Query{Pod: "web-1", Container: "app"}, []string{"aa11"}},
		"running":             {collect.Query{Pod: "web-2"}, []string{"cc"}},
		"ID":                  {collect.Query{ID: "aa"}, []string{"aa22", "aa11"}},
		"any, a pod's name":   {collect.Query{Any: "web-1"}, []string{"aa22", "aa11"}},
		"any, an ID":          {collect.Query{Any: "b"}, []string{"bb"}},
		"any, in a namespace": {collect.Query{Any: "web-2", Namespace: "shop"}, []string{"cc"}},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for _, r := range build(tc.q, s).Runs {
				ids = append(ids, r.Container.ID)
			}
			require.Equal(t, tc.want, ids)
		})
	}
}

// TestEventOfRun: an OOM event belongs to the run in whose container its victim was, and
// never to a later run of the same name.
func TestEventOfRun(t *testing.T) {
	event := func(id string, pid int, ago time.Duration) collect.Event {
		return collect.Event{
			OOMEvent: why.OOMEvent{Time: now.Add(-ago), Cause: "pod", Killed: 1, Victims: []why.Victim{{PID: pid, Comm: id}}},
			Of:       []collect.Ref{{ID: id}},
		}
	}
	s := collect.Sources{
		Exits:  []exits.Exit{exit("aa11", "app", time.Hour, killed), exit("aa22", "app", time.Minute, killed)},
		Events: []collect.Event{event("aa11", 3, 2*time.Hour), event("aa11", 4, time.Hour), event("", 7, time.Minute), event("", 8, time.Second)},
	}
	runs := build(collect.Query{}, s).Runs
	require.Equal(t, 7, runs[0].OOM.Victims[0].PID, "by init's PID, where nobody knows the container")
	require.Equal(t, 4, runs[1].OOM.Victims[0].PID, "the newest")
	require.Equal(t, &why.Recent{Hours: 24, Runs: 2, OOM: 2}, runs[0].Recent)
	require.Equal(t, "the ledger has not recorded it", because(t, runs[0], "kinds"))
}

// TestTierC: why the kinds are missing is the ledger's tier, which sees the victims alone.
func TestTierC(t *testing.T) {
	v := killed
	v.Tier, v.Victims = "C", []oom.Victim{{PID: 7, At: now, Comm: "java"}}
	r := build(collect.Query{}, collect.Sources{Exits: []exits.Exit{exit("a", "app", 0, v)}}).Runs[0]
	require.Equal(t, "a ledger of tier C does not see it", because(t, r, "kinds"))
}

// TestVerdictHasAll: a verdict of the ledger needs no OOM event to be explained.
func TestVerdictHasAll(t *testing.T) {
	v := killed
	at := now.Add(-time.Minute)
	v.Victims = []oom.Victim{
		{Seq: 1, PID: 5, Comm: "old", At: at.Add(-time.Hour)},
		{Seq: 2, PID: 7, Comm: "java", At: at, Cause: oom.CausePod, Lineage: oom.LineageInit, Anon: 1, File: 2, Shmem: 4},
	}
	v.Memory = &oom.Memory{Usage: 8, Limit: 9, Anon: 5, Swap: 1, Candidates: []oom.Candidate{{PID: 7, Comm: "java", RSS: 7}}}
	more := why.OOMEvent{ID: "e", Time: at, Killed: 3, Victims: []why.Victim{{PID: 7, Comm: "java", OOMScoreAdj: 900}}}
	s := collect.Sources{
		Exits:  []exits.Exit{exit("aa11", "app", time.Minute, v)},
		Events: []collect.Event{{OOMEvent: more, Of: []collect.Ref{{ID: "aa11"}}}},
	}
	e := build(collect.Query{}, s).Runs[0].OOM
	require.Equal(t, "e", e.ID)
	require.Equal(t, 3, e.Killed)
	require.Len(t, e.Victims, 1)
	require.Equal(t, "init", e.Victims[0].Lineage)
	require.EqualValues(t, 7, *e.Victims[0].RSS)
	require.Equal(t, 900, e.Victims[0].OOMScoreAdj)
	require.Equal(t, []why.Kind{{Name: why.KindAnon, Bytes: 5}, {Name: why.KindSwap, Bytes: 1}}, e.Kinds)
	require.Equal(t, "java", e.Candidates[0].Comm)
	require.EqualValues(t, 9, *e.LimitBytes)
}

// TestSender: who sent the SIGKILL, or why that is not known.
func TestSender(t *testing.T) {
	sent := byOther
	sent.Sender = &oom.Sender{PID: 812, Comm: "watchdog", CgroupPath: "/system.slice"}
	r := build(collect.Query{}, collect.Sources{Exits: []exits.Exit{exit("a", "app", 0, sent)}}).Runs[0]
	require.Equal(t, "watchdog", r.Sender.Comm)
	sent.Sender = &oom.Sender{}
	r = build(collect.Query{}, collect.Sources{Exits: []exits.Exit{exit("a", "app", 0, sent)}}).Runs[0]
	require.Equal(t, "the kernel", r.Sender.Comm)
	for want, change := range map[string]func(*exits.Exit){
		"the ledger in force does not record who sends SIGKILL": func(*exits.Exit) {},
		"no ledger was in force":                                func(e *exits.Exit) { e.Verdict.Evidence = "counters" },
		"init has exited with 137 itself":                       func(e *exits.Exit) { e.Verdict.Sent = oom.No },
		"senders of SIGKILL alone are recorded":                 func(e *exits.Exit) { e.Status = 139 },
	} {
		e := exit("a", "app", 0, byOther)
		change(&e)
		require.Contains(t, because(t, build(collect.Query{}, collect.Sources{Exits: []exits.Exit{e}}).Runs[0], "sender"), want)
	}
}

// TestInBundle: a cgroup whose metrics nobody looked for is not called gone.
func TestInBundle(t *testing.T) {
	for inBundle, want := range map[bool]string{true: "the record in the bundle does not have it", false: "the cgroup was gone before its metrics were read"} {
		e := exit("a", "app", 0, byOther)
		e.Memory, e.InBundle = nil, inBundle
		r := build(collect.Query{}, collect.Sources{Exits: []exits.Exit{e}}).Runs[0]
		require.Equal(t, want, because(t, r, "limit_bytes"))
		require.Equal(t, want, because(t, r, "peak_bytes"))
	}
}

// TestWithoutShim: a container of another shim is known by its OOM events alone.
func TestWithoutShim(t *testing.T) {
	s := collect.Sources{
		NoExits: "no spool",
		Events: []collect.Event{{
			OOMEvent: why.OOMEvent{Time: now, Cause: "container", Killed: 1, Victims: []why.Victim{{Comm: "java", Init: true}}},
			Of:       []collect.Ref{{ID: "dd", Name: "app", Pod: &why.Pod{Namespace: "shop", Name: "web-3"}}},
		}},
	}
	d := build(collect.Query{Pod: "web-3"}, s)
	require.Len(t, d.Runs, 1)
	require.Equal(t, "no spool", because(t, d.Runs[0], "verdict"))
	require.True(t, d.OOMKilled(false))
}

// TestBounded: a document has the newest runs.
func TestBounded(t *testing.T) {
	var s collect.Sources
	for i := range 2 * why.MaxRuns {
		s.Exits = append(s.Exits, exit("a", "app", time.Duration(i)*time.Second, killed))
	}
	d := build(collect.Query{}, s)
	require.Len(t, d.Runs, why.MaxRuns)
	require.Equal(t, why.MaxRuns, d.Omitted)
	require.Equal(t, now, *d.Runs[0].EndedAt)
}

// TestBoundedFairly: a container that ends all the time does not take the room of the run of
// another, nor of its own newest ones.
func TestBoundedFairly(t *testing.T) {
	s := collect.Sources{Exits: []exits.Exit{exit("old", "app", 23*time.Hour, killed), exit("older", "app", 24*time.Hour, killed)}}
	for i := range 2 * why.MaxRuns {
		s.Exits = append(s.Exits, exit("sidecar", "sidecar", time.Duration(i)*time.Second, killed), exits.Exit{ID: "in no pod", At: now})
	}
	d := build(collect.Query{Pod: "web-1"}, s)
	require.Len(t, d.Runs, why.MaxRuns)
	require.Equal(t, why.MaxRuns+2, d.Omitted)
	require.Equal(t, "older", d.Runs[why.MaxRuns-1].Container.ID)
	require.Equal(t, "old", d.Runs[why.MaxRuns-2].Container.ID)
	require.Equal(t, now, *d.Runs[0].EndedAt)
	require.Equal(t, now.Add(-(why.MaxRuns-3)*time.Second), *d.Runs[why.MaxRuns-3].EndedAt, "the newest of the sidecar")
	require.Len(t, build(collect.Query{Pod: "web-1", Container: "app"}, s).Runs, 2)
	require.Equal(t, why.MaxRuns+2, build(collect.Query{InPods: true}, s).Omitted, "nothing of a container in no pod")
}

// TestAddMemory: what the ledger did not see is not known, and never 0.
func TestAddMemory(t *testing.T) {
	read := why.OOMEvent{LimitBytes: new(uint64(64 << 20)), UsageBytes: new(uint64(5 << 20))} // after the kill
	collect.AddMemory(&read, &oom.Memory{Usage: 64 << 20, Limit: 64 << 20, Anon: 60 << 20})
	require.EqualValues(t, 64<<20, *read.UsageBytes)
	require.Equal(t, []why.Kind{{Name: why.KindAnon, Bytes: 60 << 20}}, read.Kinds)

	var unseen why.OOMEvent
	collect.AddMemory(&unseen, &oom.Memory{Unknown: []string{"limiting cgroup", "usage", "swap", "kinds", "kernel", "candidates"}})
	require.Equal(t, why.OOMEvent{}, unseen)
}
