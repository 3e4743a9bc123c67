package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

// TestSignals: who sent the signal. Of a sender the name alone is shown, and what is in no
// pod is not, unless all is asked for.
func TestSignals(t *testing.T) {
	body := get(t, whyConfig(false), "/").Body.String()
	require.Contains(t, body, "Containers ended by a signal")
	require.Contains(t, body, "watchdog")
	require.NotContains(t, body, "PID 9")
	require.NotContains(t, body, "system.slice")
	require.Contains(t, get(t, whyConfig(true), "/").Body.String(), "PID 9, UID 0, in /system.slice/w")
	for query, shown := range map[string]bool{
		"?namespace=shop": true, "?pod=web-2&container=app": true, "?pod=web-1": false, "?since=10s": false, "?cause=node": false,
	} {
		r := get(t, whyConfig(false), "/"+query)
		require.Equal(t, http.StatusOK, r.Code)
		require.Equal(t, shown, strings.Contains(r.Body.String(), "watchdog"), query)
	}
}

// TestFigures: a figure that may be too low says so, and one that nobody knows has no number.
func TestFigures(t *testing.T) {
	c := config(event(1, oom.CauseNode, inPod("shop", "web-1", "app")), event(2, oom.CauseUnknown, inPod("shop", "web-1", "app")))
	tiles := func(h events.Health) string {
		c.Health = func() events.Health { return h }
		_, body, _ := strings.Cut(get(t, c, "/").Body.String(), `<dl class="tiles"`)
		body, _, _ = strings.Cut(body, "</dl>")
		return body
	}
	require.Contains(t, tiles(well()), "<dt>OOM events</dt><dd>2</dd>")
	require.Contains(t, tiles(well()), "<dd>≥ 1</dd>", "the other may be one, too")
	require.Contains(t, tiles(events.Health{Ready: true, Tier: "A", Lost: 1}), "<dt>processes killed</dt><dd>≥ 2</dd>")
	c = config(event(2, oom.CauseUnknown, inPod("shop", "web-1", "app")))
	require.Contains(t, tiles(well()), "<dt>whose limit was reached</dt><dd>not known</dd>")
}

// TestTopWorkloads joins the pods of a workload, and leads to their events.
func TestTopWorkloads(t *testing.T) {
	c := config(
		event(1, oom.CauseNode, inPod("shop", "web-6d5f9c7b8d-x2x4z", "app"), outside()),
		event(2, oom.CauseNode, inPod("shop", "web-6d5f9c7b8d-7kq9p", "app")),
		event(3, oom.CauseNode, inPod("bank", "db-0", "db")),
	)
	_, body, _ := strings.Cut(get(t, c, "/").Body.String(), `<section class="top"`)
	require.Contains(t, body, "</span>web <span class=\"container\">app</span></a>\n<span class=\"figures\"><b>2</b> <small>in 2 pods</small>")
	require.Contains(t, body, `<a href="?container=app&amp;namespace=shop">`)
	require.Contains(t, body, `<a href="?container=db&amp;namespace=bank&amp;pod=db-0">`)
	require.Less(t, strings.Index(body, "</span>web <"), strings.Index(body, "</span>db <"), "the most first")
}

// TestMostWork: what the browser gets of a full history is bounded.
func TestMostWork(t *testing.T) {
	var many []events.OOMEvent
	for n := range web.MaxEvents {
		many = append(many, event(n, oom.CauseContainer, inPod("shop", strings.Repeat("n", n%200), "app")))
	}
	r := get(t, config(many...), "/")
	require.Less(t, r.Body.Len(), 400<<10)
	require.Less(t, len(nodes(t, r.Body.String())), 9000)
}
