package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

// ended are exits of a pod, of another pod, and of a container in no pod.
func ended() []exits.Exit {
	at := time.Now().Add(-time.Minute)
	v := oom.Verdict{
		OOMKilled: true, Ended: oom.EndedOOM, Rule: oom.RuleInitVictim, Cause: oom.CauseNode, Kills: 1, Evidence: "ledger",
		Victims: []oom.Victim{{Seq: 1, PID: 4711, Comm: "java", At: at, Lineage: oom.LineageInit, Cause: oom.CauseNode}},
		Memory:  &oom.Memory{Usage: 2, Candidates: []oom.Candidate{{PID: 1, Comm: "secretd", RSS: 1}}},
	}
	signal := oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Sender: &oom.Sender{PID: 9, Comm: "watchdog", CgroupPath: "/system.slice/w"}}
	pod := func(name string) *exits.Pod {
		return &exits.Pod{Namespace: "shop", Name: name, UID: "u", Container: "app"}
	}
	return []exits.Exit{
		{ID: "a1", Pid: 4711, At: at, Status: 137, Reported: 137, Pod: pod("web-1"), Verdict: v},
		{ID: "b1", Pid: 12, At: at, Status: 137, Reported: 137, Pod: pod("web-2"), Verdict: signal},
		{ID: "c1", Pid: 13, At: at, Status: 3, Reported: 3, Verdict: oom.Verdict{Ended: oom.EndedExited, Rule: oom.RuleNothingKnown}},
	}
}

func whyConfig(all bool) web.Config {
	c := config()
	c.All, c.Exits = all, ended
	return c
}

func document(t *testing.T, c web.Config, query string) why.Document {
	t.Helper()
	r := get(t, c, why.PathWhy+"?"+query)
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	d, err := why.Decode(r.Body.Bytes())
	require.NoError(t, err)
	return *d
}

// TestWhy: the answer has what the owner of the pod may know, and all with All.
func TestWhy(t *testing.T) {
	d := document(t, whyConfig(false), "namespace=shop&pod=web-1")
	require.Equal(t, why.SourceAgent, d.Source)
	require.Len(t, d.Runs, 1)
	require.True(t, d.OOMKilled(false))
	r := d.Runs[0]
	require.Zero(t, r.PID)
	require.Zero(t, r.OOM.Victims[0].PID)
	require.Equal(t, "java", r.OOM.Victims[0].Comm)
	require.Empty(t, r.OOM.Candidates, "the node was full: they are others' processes")

	require.Len(t, document(t, whyConfig(false), "").Runs, 2, "what is in no pod is the node's own")
	require.Empty(t, document(t, whyConfig(false), "id=c1").Runs)
	sender := document(t, whyConfig(false), "pod=web-2").Runs[0].Sender
	require.Equal(t, "watchdog", sender.Comm)
	require.Empty(t, sender.Cgroup)

	d = document(t, whyConfig(true), "pod=web-1")
	require.Equal(t, "secretd", d.Runs[0].OOM.Candidates[0].Comm)
	require.Equal(t, 4711, d.Runs[0].PID)
	require.Len(t, document(t, whyConfig(true), "id=c1").Runs, 1)
	require.Equal(t, "/system.slice/w", document(t, whyConfig(true), "pod=web-2").Runs[0].Sender.Cgroup)
}

// TestWhyOfEvents: a container that runs under another shim is known by its OOM events.
func TestWhyOfEvents(t *testing.T) {
	c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
	d := document(t, c, "pod=web-1")
	require.Len(t, d.Runs, 1)
	require.NotNil(t, d.Runs[0].OOM)
	require.Nil(t, d.Runs[0].Verdict)
	require.Contains(t, d.Runs[0].Missing, why.Missing{Field: "verdict", Because: "this agent keeps no exits"})
}

func TestTop(t *testing.T) {
	var top why.Top
	r := get(t, whyConfig(false), why.PathTop+"?since=1h")
	require.Equal(t, http.StatusOK, r.Code)
	require.NoError(t, json.Unmarshal(r.Body.Bytes(), &top))
	require.Equal(t, 1, top.Hidden)
	require.Len(t, top.Rows, 2)
	require.Equal(t, "web-1", top.Rows[0].Pod)
	require.Equal(t, 1, top.Rows[0].OOM)
	r = get(t, whyConfig(false), why.PathTop+"?since=1s")
	require.NoError(t, json.Unmarshal(r.Body.Bytes(), &top))
	require.Empty(t, top.Rows)
}

// TestTopComplete: the answer has the time since which nothing is missing.
func TestTopComplete(t *testing.T) {
	ask := func(c web.Config) (top why.Top) {
		t.Helper()
		r := get(t, c, why.PathTop+"?since=24h")
		require.NoError(t, json.Unmarshal(r.Body.Bytes(), &top))
		var list web.Answer
		require.NoError(t, json.Unmarshal(get(t, c, "/api/v1/events").Body.Bytes(), &list))
		if c.ExitsMissing == nil {
			require.Equal(t, top.CompleteSince, list.CompleteSince)
		}
		return top
	}
	c := whyConfig(false)
	require.Nil(t, ask(c).CompleteSince)
	c.History = &web.History{}
	c.History.Restore(events.Totals{Since: start}, nil)
	require.Equal(t, start, *ask(c).CompleteSince)
	c.ExitsMissing = func() time.Time { return start.Add(time.Hour) }
	require.Equal(t, start.Add(time.Hour), *ask(c).CompleteSince)
	c.Health = func() events.Health { return events.Health{Lost: 3} }
	require.EqualValues(t, 3, ask(c).Lost)
}

func TestStatus(t *testing.T) {
	var status why.Status
	r := get(t, whyConfig(false), why.PathStatus)
	require.NoError(t, json.Unmarshal(r.Body.Bytes(), &status))
	require.Equal(t, 3, status.Exits)
	require.Equal(t, why.Schema, status.Schema)
	require.True(t, status.Ready)
}

// TestBadQueries name the parameter, the value and what is allowed.
func TestBadQueries(t *testing.T) {
	for query, want := range map[string]string{
		why.PathWhy + "?x=1":                                 `no such parameter; there are container, id, namespace, pod`,
		why.PathWhy + "?pod=a&pod=b":                         "pod: given 2 times",
		why.PathWhy + "?pod=%ff":                             "has to be text of at most 253 bytes",
		why.PathWhy + "?pod=" + strings.Repeat("a", 254):     "has to be text of at most 253 bytes",
		why.PathWhy + "?pod=" + strings.Repeat("a", 3000):    "at most 2048 are allowed",
		why.PathWhy + "?%zz":                                 "not a query",
		why.PathTop + "?since=soon":                          "has to be a time such as",
		why.PathTop + "?since=" + strings.Repeat("1", 2048):  "the query has 2054 bytes: at most 2048 are allowed",
		why.PathTop + "?since=1h&since=2h":                   "since: given 2 times",
		why.PathTop + "?until=1h":                            "no such parameter; there is since",
		why.PathWhy + "?" + url.Values{"c<": {"1"}}.Encode(): "no such parameter",
	} {
		r := get(t, whyConfig(false), query)
		require.Equal(t, http.StatusBadRequest, r.Code, query)
		var answer struct{ Errors []string }
		require.NoError(t, json.Unmarshal(r.Body.Bytes(), &answer))
		require.Contains(t, strings.Join(answer.Errors, "\n"), want)
	}
}

func FuzzWhyQuery(f *testing.F) {
	f.Add("namespace=shop&pod=web-1")
	f.Add("pod=%00&id=\xff")
	c := whyConfig(false)
	f.Fuzz(func(t *testing.T, query string) {
		if strings.ContainsAny(query, " #\r\n\t\x00\x7f") {
			return // no client sends them
		}
		for _, path := range []string{why.PathWhy, why.PathTop} {
			u := url.URL{Path: path, RawQuery: query}
			if _, err := url.Parse(u.String()); err != nil {
				continue
			}
			require.Contains(t, []int{200, 400}, get(t, c, u.String()).Code)
		}
	})
}

// TestWhyBounded: neither a container that ends all the time nor what is the node's own
// takes the room of a run that is asked for, and the answer says that there are more.
func TestWhyBounded(t *testing.T) {
	c := whyConfig(false)
	list := ended()
	for i := range 200 {
		loud := list[1]
		loud.ID, loud.At = fmt.Sprint("loud", i), list[0].At.Add(time.Duration(i)*time.Millisecond)
		own := list[2]
		own.ID, own.At = fmt.Sprint("own", i), loud.At
		list = append(list, loud, own)
	}
	c.Exits = func() []exits.Exit { return list }
	d := document(t, c, "")
	require.Len(t, d.Runs, why.MaxRuns)
	require.Equal(t, 202-why.MaxRuns, d.Omitted)
	require.True(t, slices.ContainsFunc(d.Runs, func(r why.Run) bool { return r.Container.ID == "a1" }), "the only run of web-1")
	require.Len(t, document(t, c, "pod=web-1&container=app").Runs, 1)
}
