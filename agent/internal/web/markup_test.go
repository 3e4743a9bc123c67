package web_test

import (
	"fmt"
	"net/http"
	"net/url"
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
		"No ledger is loaded in the kernel":  {},
		"does not read the ledger":           {Tier: "A"},
		"not whose limit was reached":        {Tier: "C", Ready: true},
		"3 kills were counted and could not": {Tier: "A", Ready: true, Lost: 3},
		"cannot write its journal":           {Tier: "A", Ready: true, Journal: "read-only"},
		"cannot read or keep the ends":       {Tier: "A", Ready: true, Exits: "no spool"},
	} {
		c.Health = func() events.Health { return h }
		require.Contains(t, get(t, c, "/").Body.String(), want)
	}
	var many []events.OOMEvent
	for n := range web.MaxEvents + 2 {
		many = append(many, event(n, oom.CauseContainer))
	}
	require.Contains(t, get(t, config(many...), "/").Body.String(), "The newest 1000 events are kept. 2 older events have made room.")
	require.Equal(t, uint64(2), answer(t, config(many...), "").Dropped)
}

func TestEmpty(t *testing.T) {
	require.Contains(t, get(t, config(), "/").Body.String(), "No OOM kill so far")
	c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
	require.Contains(t, get(t, c, "/?pod=other").Body.String(), "Nothing matches")
	require.Equal(t, []web.Event{}, answer(t, c, "?pod=other").Events)
}

// ownLink returns where a link of the page leads, and asserts that it leads nowhere else
// but to the page's own server.
func ownLink(t *testing.T, link string) string {
	t.Helper()
	base := url.URL{Scheme: "http", Host: "page.example", Path: "/"}
	to, err := base.Parse(link)
	require.NoError(t, err, link)
	require.Equal(t, base.Scheme+base.Host, to.Scheme+to.Host, link)
	return to.RequestURI()
}

// TestMarkup: nothing from elsewhere, no script and no style but the page's files, and what
// a screen reader needs.
func TestMarkup(t *testing.T) {
	c := config(
		event(1, oom.CauseNode, inPod("shop", "web-1", "app"), outside()),
		event(2, oom.CauseContainer, inPod("shop", "web-1", "app")),
	)
	r := get(t, c, "/?limit=1&cause=node&cause=container")
	labelled, headings, bars, pictures := 0, 0, 0, 0
	for _, n := range nodes(t, r.Body.String()) {
		switch n.Data {
		case "input", "select":
			if kind, _ := attribute(n, "type"); kind != "hidden" {
				require.Equal(t, "label", n.Parent.Data)
				labelled++
			}
		case "th":
			scope, _ := attribute(n, "scope")
			require.Equal(t, "col", scope)
			headings++
		case "svg":
			role, _ := attribute(n, "role")
			_, named := attribute(n, "aria-label")
			silent, _ := attribute(n, "aria-hidden")
			require.True(t, silent == "true" || role != "" && named)
			pictures++
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
	harmless(t, r.Body.String())
	require.Equal(t, 13, labelled)
	require.Equal(t, 16, headings)
	require.Equal(t, 2, bars)
	require.Equal(t, 5, pictures, "two lanes, a workload, and a bar twice")
	policy := r.Header().Get("Content-Security-Policy")
	require.True(t, strings.HasPrefix(policy, "default-src 'none'; "))
	require.NotContains(t, policy, "unsafe")
	require.Contains(t, policy, "require-trusted-types-for 'script'; trusted-types 'none'")
	require.Equal(t, "nosniff", r.Header().Get("X-Content-Type-Options"))
}

// TestAssets: style and script are files of the page, and load nothing.
func TestAssets(t *testing.T) {
	for name, kind := range map[string]string{"/page.css": "text/css; charset=utf-8", "/page.js": "text/javascript; charset=utf-8"} {
		r := get(t, config(), name)
		require.Equal(t, http.StatusOK, r.Code)
		require.Equal(t, kind, r.Header().Get("Content-Type"))
		for _, bad := range []string{"://", "url(", "@import", "innerHTML", "eval(", "document.write"} {
			require.NotContains(t, r.Body.String(), bad)
		}
	}
	c := config()
	c.Page = false
	require.Equal(t, http.StatusNotFound, get(t, c, "/page.js").Code)
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
			if !ok || strings.HasPrefix(link, "#") || link == "metrics" {
				continue
			}
			link = ownLink(t, link)
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
