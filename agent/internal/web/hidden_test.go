package web_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/metrics"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

// nodesOwn are a kill and exits with a secret in each field that is the node's own: a name
// with "secret", a path below /secret, or a number that begins with 98765.
func nodesOwn() (kills []events.OOMEvent, ends []exits.Exit) {
	memory := &oom.Memory{Usage: 2, Candidates: []oom.Candidate{{PID: 987651, Comm: "secret-candidate", RSS: 1}}}
	for n, cause := range []oom.Cause{oom.CauseNode, oom.CauseAncestor, oom.CauseUnknown, oom.CauseCpuset} {
		in := event(n, cause, inPod("shop", fmt.Sprint("killed-", n), "app"), outside())
		in.Victims[0].Container.ID = fmt.Sprint("e", n)
		in.Memory, in.Domain.Path = memory, "/secret/limit"
		kills = append(kills, in)
	}
	at := time.Now().Add(-time.Minute)
	end := func(id string, v oom.Verdict) {
		ends = append(ends, exits.Exit{
			ID: id, Pid: 987652, At: at, Status: 137, Reported: 137, Verdict: v,
			Pod: &exits.Pod{Namespace: "shop", Name: "web-1", UID: "u", Container: "app"},
		})
	}
	victim := oom.Victim{Seq: 1, PID: 987653, Comm: "java", At: at, Limit: 5, LimitPath: "/secret/limit"}
	end("a1", oom.Verdict{
		Ended: oom.EndedSignal, Rule: oom.RuleSender, Kills: 1, Victims: []oom.Victim{victim}, Memory: memory,
		Sender: &oom.Sender{PID: 987655, UID: 987656, Comm: "watchdog", At: at, CgroupPath: "/secret/sender"},
	})
	end("a2", oom.Verdict{OOMKilled: true, Ended: oom.EndedOOM, Cause: oom.CauseUnknown, Kills: 1, Victims: []oom.Victim{victim}, Memory: memory, Evidence: "ledger"})
	end("a3", oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Sender: &oom.Sender{}})
	ends = append(ends, exits.Exit{ID: "secret-container", Pid: 987657, At: at, Status: 137, Verdict: oom.Verdict{Ended: oom.EndedSignal, Sender: &oom.Sender{PID: 987658}}})
	return kills, ends
}

// TestNodesOwn: on no route and by no query is there anything of the node's own, unless it
// is asked for.
func TestNodesOwn(t *testing.T) {
	kills, ends := nodesOwn()
	c := config(kills...)
	c.Exits = func() []exits.Exit { return ends }
	m := metrics.New(metrics.Options{Health: well})
	for _, in := range kills {
		m.Take(in)
	}
	c.Metrics = m.Handler(io.Discard)
	for route, own := range map[string]bool{ // whether there is something to hide
		"/": true, "/?limit=200": true, "/?pod=web-1": true, "/?cause=node": true,
		"/api/v1/events": true, "/api/v1/events?cause=unknown": true, "/api/v1/events?pod=killed-1": true,
		why.PathWhy: true, why.PathWhy + "?pod=web-1": true, why.PathWhy + "?id=a1": true, why.PathWhy + "?id=secret": true, why.PathWhy + "?pod=killed-0": true,
		why.PathTop: false, why.PathTop + "?since=87600h": false, why.PathStatus: false,
		"/metrics": false, "/healthz": false, "/readyz": false,
	} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, all %v", route, all), func(t *testing.T) {
				c.All = all
				r := get(t, c, route)
				require.Equal(t, http.StatusOK, r.Code)
				body := r.Body.String()
				found := strings.Contains(body, "secret") || strings.Contains(body, "98765")
				require.Equal(t, all && own, found, body)
			})
		}
	}
}

// TestSenderShown: the owner of the pod learns the name of the sender, or that the kernel
// has sent the signal.
func TestSenderShown(t *testing.T) {
	_, ends := nodesOwn()
	c := config()
	c.Exits = func() []exits.Exit { return ends }
	r := document(t, c, "id=a1").Runs[0]
	require.Equal(t, &why.Process{Comm: "watchdog", At: r.Sender.At}, r.Sender)
	require.Equal(t, "Find out why watchdog sends signals to containers.", r.Advice[0])
	r = document(t, c, "id=a3").Runs[0]
	require.True(t, r.Sender.Kernel)
	require.Contains(t, r.Advice[0], "The kernel itself sent SIGKILL")
	c.All = true
	r = document(t, c, "id=a1").Runs[0]
	require.Equal(t, &why.Process{PID: 987655, UID: new(uint32(987656)), Comm: "watchdog", Cgroup: "/secret/sender", At: r.Sender.At}, r.Sender)
	require.Contains(t, r.Advice[0], "watchdog (pid 987655)")
	var page strings.Builder
	c.All = false
	hidden := document(t, c, "id=a1")
	require.NoError(t, hidden.Write(&page, why.Options{}))
	require.Contains(t, page.String(), "sent by      watchdog\n")
}
