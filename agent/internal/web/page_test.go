package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func well() events.Health { return events.Health{Ready: true, Tier: "A"} }

func config(events ...events.OOMEvent) web.Config {
	h := &web.History{}
	for _, in := range events {
		h.Take(in)
	}
	return web.Config{Node: "node-1", Version: "v1", Page: true, History: h, Health: well}
}

func event(n int, cause oom.Cause, victims ...events.Victim) events.OOMEvent {
	return events.OOMEvent{
		ID: fmt.Sprintf("b-%04d", n), Time: start.Add(time.Duration(n) * time.Minute), Cause: cause, Tier: "A",
		Domain:  &events.Domain{Constraint: "memcg", ID: 5, Path: "/secret-domain", Size: 128 << 20, Points: 17},
		Trigger: events.Process{PID: 987654, Comm: "secret-trigger"}, Limit: new(uint64(64 << 20)), Usage: new(uint64(64 << 20)), Victims: victims,
	}
}

func inPod(namespace, pod, container string) events.Victim {
	v := events.Victim{
		Comm: "java", OOMScoreAdj: 980, Init: true, IDs: events.IDs{PID: 987655, UID: 987656, StartTicks: 987657},
		Memory:    events.Memory{RSS: new(uint64(100 << 20)), Anon: new(uint64(90 << 20))},
		Cgroup:    events.Cgroup{ID: 987658, Path: "/secret-cgroup"},
		Container: &events.Container{ID: "3f2a", Name: container, Image: "shop:1"},
		Pod:       &events.Pod{UID: "77", Name: pod, Namespace: namespace},
	}
	return v
}

func outside() events.Victim {
	return events.Victim{
		Comm: "secret-comm", IDs: events.IDs{PID: 987659},
		Memory:    events.Memory{RSS: new(uint64(987 << 20))},
		Cgroup:    events.Cgroup{Path: "/secret-slice"},
		Container: &events.Container{ID: "secret-container", Image: "secret-image"}, Unit: "secret.service",
	}
}

func get(t *testing.T, c web.Config, target string) *httptest.ResponseRecorder {
	t.Helper()
	recorder := httptest.NewRecorder()
	web.Handler(c).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
	return recorder
}

func answer(t *testing.T, c web.Config, query string) web.Answer {
	t.Helper()
	r := get(t, c, "/api/v1/events"+query)
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	require.Equal(t, "application/json", r.Header().Get("Content-Type"))
	var a web.Answer
	require.NoError(t, json.Unmarshal(r.Body.Bytes(), &a))
	return a
}

func ids(a web.Answer) (list []string) {
	for _, e := range a.Events {
		list = append(list, e.ID)
	}
	return list
}

// nodes are all elements of a page.
func nodes(t *testing.T, body string) (list []*html.Node) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(body))
	require.NoError(t, err)
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			list = append(list, n)
		}
	}
	return list
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}

// TestHidden: what is the node's own is on neither page nor API, by any filter, unless
// it is asked for.
func TestHidden(t *testing.T) {
	c := config(
		event(1, oom.CauseNode, inPod("shop", "web-1", "app"), outside(), outside()),
		event(2, oom.CauseAncestor, outside()),
	)
	for _, path := range []string{"/", "/api/v1/events", "/?pod=web-1", "/api/v1/events?cause=ancestor", "/?namespace=%20"} {
		body := get(t, c, path).Body.String()
		for _, secret := range []string{"secret", "98765", "987 MiB", fmt.Sprint(987 << 20)} {
			require.NotContains(t, body, secret, path)
		}
	}
	a := answer(t, c, "")
	require.Equal(t, []string{"b-0002", "b-0001"}, ids(a))
	require.Equal(t, 1, a.Events[0].Hidden)
	require.Empty(t, a.Events[0].Victims)
	require.Nil(t, a.Events[0].LimitBytes, "of something in no pod")
	require.Equal(t, 3, a.Events[1].Killed)
	require.Equal(t, 2, a.Events[1].Hidden)
	require.Equal(t, uint64(128<<20), *a.Events[1].SizeBytes, "the node's is no secret")
	require.Contains(t, get(t, c, "/").Body.String(), "2 processes outside pods")

	c.All = true
	body := get(t, c, "/").Body.String()
	for _, shown := range []string{"secret.service", "secret-comm", "/secret-cgroup", "/secret-domain", "secret-trigger, PID 987654", "PID 987655, UID 987656"} {
		require.Contains(t, body, shown)
	}
	a = answer(t, c, "")
	require.True(t, a.All)
	require.Equal(t, "secret.service", a.Events[0].Victims[0].Unit)
	require.Equal(t, events.IDs{PID: 987655, StartTicks: 987657, UID: 987656}, a.Events[1].Victims[0].IDs)
	require.Equal(t, "secret-trigger", a.Events[0].Trigger.Comm)
}

// TestJSON is the shape that docs/agent.md promises.
func TestJSON(t *testing.T) {
	c := config(event(1, oom.CausePod, inPod("shop", "web-1", "app")))
	r := get(t, c, "/api/v1/events")
	var a map[string]any
	require.NoError(t, json.Unmarshal(r.Body.Bytes(), &a))
	delete(a, "time")
	text, err := json.Marshal(a)
	require.NoError(t, err)
	require.JSONEq(t, `{"schema":1,"node":"node-1","all":false,"tier":"A","lost":0,"kept":1,"complete_since":null,"dropped":0,"matched":1,"next":"","events":[
		{"id":"b-0001","time":"2026-01-02T03:05:05Z","cause":"pod","tier":"A","size_bytes":134217728,"limit_bytes":67108864,"usage_bytes":67108864,
		"killed":1,"hidden":0,"omitted":0,"victims":[{"index":0,"comm":"java","init":true,"shared_memory":false,"oom_group":false,"oom_score_adj":980,
		"memory":{"rss_bytes":104857600,"anon_bytes":94371840,"file_bytes":null,"shmem_bytes":null,"page_tables_bytes":0,"total_vm_bytes":0},
		"container":{"id":"3f2a","name":"app","image":"shop:1"},"pod":{"uid":"77","name":"web-1","namespace":"shop"}}]}]}`, string(text))
}

func TestFilters(t *testing.T) {
	c := config(
		event(1, oom.CauseContainer, inPod("shop", "web-1", "app")),
		event(2, oom.CausePod, inPod("shop", "web-2", "app")),
		event(3, oom.CauseNode, inPod("bank", "web-1", "db"), inPod("shop", "web-1", "sidecar")),
		event(4, oom.CauseUnknown, outside()),
	)
	for query, want := range map[string][]string{
		"":                                   {"b-0004", "b-0003", "b-0002", "b-0001"},
		"?cause=node&cause=pod":              {"b-0003", "b-0002"},
		"?cause=":                            {"b-0004", "b-0003", "b-0002", "b-0001"},
		"?pod=web-1":                         {"b-0003", "b-0001"},
		"?namespace=bank&pod=web-1":          {"b-0003"},
		"?namespace=bank&container=app":      nil, // not of the same victim
		"?container=sidecar":                 {"b-0003"},
		"?since=2026-01-02T03:06:05Z":        {"b-0004", "b-0003", "b-0002"},
		"?until=2026-01-02T03:06:05Z":        {"b-0001"},
		"?since=87600h":                      {"b-0004", "b-0003", "b-0002", "b-0001"},
		"?since=1ms":                         nil,
		"?limit=1":                           {"b-0004"},
		"?before=b-0003":                     {"b-0002", "b-0001"},
		"?before=b-0001":                     nil,
		"?cause=container&before=b-0003":     {"b-0001"},
		"?since=2026-01-02T05:06:05%2B02:00": {"b-0004", "b-0003", "b-0002"},
	} {
		require.Equal(t, want, ids(answer(t, c, query)), query)
		r := get(t, c, "/"+query)
		require.Equal(t, http.StatusOK, r.Code, query)
		require.Equal(t, len(want), strings.Count(r.Body.String(), `class="event"`), query)
	}
}

func TestWrongQueries(t *testing.T) {
	c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
	for query, want := range map[string]string{
		"?cause=mine":                            `cause="mine": there are node, ancestor`,
		"?limit=0":                               `limit="0": has to be a number from 1 to`,
		"?limit=9999":                            `has to be a number from 1 to`,
		"?limit=x":                               `has to be a number`,
		"?since=yesterday":                       `has to be a time such as 2026-01-02T15:04:05Z, or how long ago`,
		"?since=-5m":                             `has to be a time`,
		"?since=999999h":                         `has to be a time`,
		"?since=0001-01-01T00:00:00Z":            `has to be a time`,
		"?since=1h&until=2h":                     `since is not before until`,
		"?pod=a&pod=b":                           `pod: given 2 times`,
		"?pod=" + strings.Repeat("a", 254):       `has to be text of at most 253 bytes`,
		"?pod=%ff":                               `has to be text`,
		"?nonsense=1":                            `"nonsense": no such parameter; there are cause`,
		"?%zz":                                   `not a query`,
		"?pod=a;b":                               `not a query`,
		"?" + strings.Repeat("cause=node&", 400): `at most 2048 are allowed`,
	} {
		r := get(t, c, "/api/v1/events"+query)
		require.Equal(t, http.StatusBadRequest, r.Code, query)
		var refusal struct{ Errors []string }
		require.NoError(t, json.Unmarshal(r.Body.Bytes(), &refusal))
		require.Len(t, refusal.Errors, 1, query)
		require.Contains(t, refusal.Errors[0], want, query)

		r = get(t, c, "/"+query)
		require.Equal(t, http.StatusBadRequest, r.Code, query)
		require.Contains(t, r.Body.String(), "<li>", query)
	}
	r := get(t, c, "/api/v1/events?cause=x&limit=y")
	require.Equal(t, 2, strings.Count(r.Body.String(), "allowed")+strings.Count(r.Body.String(), "there are")+strings.Count(r.Body.String(), "number"), "both are reported: %s", r.Body)
	require.Equal(t, http.StatusGone, get(t, c, "/api/v1/events?before=other").Code)
	require.Equal(t, http.StatusGone, get(t, c, "/?before=other").Code)
}

// TestPages: every event is on one page, whatever limit ends a page.
func TestPages(t *testing.T) {
	var events []events.OOMEvent
	var want []string
	for n := range 70 {
		in := event(n, oom.CauseContainer)
		for range 50 {
			in.Victims = append(in.Victims, inPod("shop", "web-1", "app"))
		}
		events = append(events, in)
		want = append([]string{in.ID}, want...)
	}
	c := config(events...)
	var got []string
	pages := 0
	for next := ""; pages == 0 || next != ""; pages++ {
		a := answer(t, c, "?limit=500&before="+next)
		require.Equal(t, 70, a.Matched)
		got, next = append(got, ids(a)...), a.Next
	}
	require.Equal(t, want, got)
	require.Equal(t, 4, pages, "20 events have 1000 victims")
}
