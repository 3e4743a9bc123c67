package web_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

func TestNotices(t *testing.T) {
	c := config()
	require.NotContains(t, get(t, c, "/").Body.String(), "notices\"")
	for want, h := range map[string]events.Health{
		"No ledger is in the kernel":         {},
		"does not read the ledger":           {Tier: "A"},
		"tier C alone":                       {Tier: "C", Ready: true},
		"3 kills were counted and could not": {Tier: "A", Ready: true, Lost: 3},
		"t write its journal":                {Tier: "A", Ready: true, Journal: "read-only"},
	} {
		c.Health = func() events.Health { return h }
		require.Contains(t, get(t, c, "/").Body.String(), want)
	}
	var many []events.OOMEvent
	for n := range web.MaxEvents + 2 {
		many = append(many, event(n, oom.CauseContainer))
	}
	require.Contains(t, get(t, config(many...), "/").Body.String(), "The newest 1000 events are kept. 2 older have made room.")
	require.Equal(t, uint64(2), answer(t, config(many...), "").Dropped)
}

func TestEmpty(t *testing.T) {
	require.Contains(t, get(t, config(), "/").Body.String(), "No OOM kill so far")
	c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
	require.Contains(t, get(t, c, "/?pod=other").Body.String(), "Nothing matches")
	require.Equal(t, []web.Event{}, answer(t, c, "?pod=other").Events)
}

// TestMarkup: nothing from elsewhere, no script, the style that the policy allows, and
// what a screen reader needs.
func TestMarkup(t *testing.T) {
	c := config(
		event(1, oom.CauseNode, inPod("shop", "web-1", "app"), outside()),
		event(2, oom.CauseContainer, inPod("shop", "web-1", "app")),
	)
	r := get(t, c, "/?limit=1&cause=node&cause=container")
	labelled, headings, bars := 0, 0, 0
	for _, n := range nodes(t, r.Body.String()) {
		for _, a := range n.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src", "%s %s", n.Data, a.Key)
			if a.Key == "href" || a.Key == "action" {
				require.Regexp(t, `^(/|\?|#)`, a.Val)
				require.NotContains(t, a.Val, "//")
			}
		}
		switch n.Data {
		case "script", "link", "img", "iframe", "object", "base":
			require.Fail(t, n.Data)
		case "style":
			sum := sha256.Sum256([]byte(n.FirstChild.Data))
			require.Contains(t, r.Header().Get("Content-Security-Policy"), "style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
			require.NotContains(t, n.FirstChild.Data, "url(")
		case "input", "select":
			if kind, _ := attribute(n, "type"); kind != "hidden" {
				require.Equal(t, "label", n.Parent.Data)
				labelled++
			}
		case "th":
			scope, _ := attribute(n, "scope")
			require.Equal(t, "col", scope)
			headings++
		case "rect":
			if class, _ := attribute(n, "class"); class == "bar" {
				_, named := attribute(n.Parent, "aria-label")
				require.True(t, named)
				bars++
			}
		case "html":
			lang, _ := attribute(n, "lang")
			require.Equal(t, "en", lang)
		}
	}
	require.Equal(t, 12, labelled)
	require.Equal(t, 14, headings)
	require.Equal(t, 2, bars)
	require.True(t, strings.HasPrefix(r.Header().Get("Content-Security-Policy"), "default-src 'none'; "))
	require.NotContains(t, r.Header().Get("Content-Security-Policy"), "unsafe")
	require.Equal(t, "nosniff", r.Header().Get("X-Content-Type-Options"))
}

// TestLinksHold: every link of a page leads to a page.
func TestLinksHold(t *testing.T) {
	var events []events.OOMEvent
	for n := range 110 {
		events = append(events, event(n, []oom.Cause{oom.CauseNode, oom.CausePod}[n%2], inPod("shop", fmt.Sprint("web-", n%3), "app")))
	}
	c := config(events...)
	followed := map[string]bool{}
	for _, from := range []string{"/", "/?before=b-0100&limit=5", "/?since=2026-01-02T03:00:00Z&until=2026-01-02T05:00:00Z&limit=1"} {
		for _, n := range nodes(t, get(t, c, from).Body.String()) {
			link, ok := attribute(n, "href")
			if !ok || strings.HasPrefix(link, "#") || link == "/metrics" {
				continue
			}
			if strings.HasPrefix(link, "?") {
				link = "/" + link
			}
			if followed[link] {
				continue
			}
			followed[link] = true
			r := get(t, c, link)
			require.Equal(t, http.StatusOK, r.Code, link)
			if n.Parent.Data == "svg" {
				require.NotContains(t, r.Body.String(), "Nothing matches", link)
			}
		}
	}
	require.Greater(t, len(followed), 50)
}
