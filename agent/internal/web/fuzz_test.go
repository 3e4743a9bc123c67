package web_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

// elements are those that a page has.
var elements = map[string]bool{}

func init() {
	for name := range strings.FieldsSeq(`html head meta title link script body a header div h1 span p b time nav main section ul ol li form
		fieldset legend label input select option datalist button dl dt dd h2 h3 small svg line rect table caption thead tbody tr th td
		details summary code footer`) {
		elements[name] = true
	}
}

// FuzzQuery: a query is answered or refused, on the page as by the API, and what it
// says is text there.
func FuzzQuery(f *testing.F) {
	for _, query := range []string{
		"", "cause=node&cause=pod&limit=3", "pod=web-1&namespace=shop&container=app", "since=1h&until=2026-01-02T15:04:05Z",
		"before=b-0001", "pod=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "since=%00", "cause=node;x", "%", "limit=99999999999999999999",
		"until=9999-12-31T23:59:59Z", "since=1970-01-01T00:00:00Z", "pod=javascript:alert(1)",
	} {
		f.Add(query)
	}
	c := config(
		event(1, oom.CauseContainer, inPod("shop", "web-1", "app")), event(2, oom.CauseNode, outside(), inPod("bank", "db-0", "db")),
	)
	h := web.Handler(c)
	f.Fuzz(func(t *testing.T, query string) {
		codes := map[string]int{}
		for _, path := range []string{"/", "/api/v1/events"} {
			r := httptest.NewRecorder()
			h.ServeHTTP(r, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}})
			codes[path] = r.Code
			require.Contains(t, []int{http.StatusOK, http.StatusBadRequest, http.StatusGone}, r.Code)
			require.NotContains(t, r.Body.String(), "secret.service")
			if path == "/" {
				harmless(t, r.Body.String())
			} else {
				require.True(t, json.Valid(r.Body.Bytes()))
			}
		}
		if !strings.Contains(query, "limit") { // their limits differ
			require.Equal(t, codes["/"], codes["/api/v1/events"])
		}
	})
}

// FuzzPage: whatever processes, pods and cgroups call themselves is text, and what is
// hidden stays hidden.
func FuzzPage(f *testing.F) {
	f.Add("java", "web-1", "app", "/kubepods", "node", int64(0), uint64(1<<20), false)
	f.Add("</td><script>alert(1)</script>", "\x1b[2J\xff", "\" onclick=\"x", "javascript:alert(1)", "container", int64(1)<<62, uint64(0), true)
	f.Add("{{.}}", "a/b?c#d", "<!--", "</style>", "other", int64(-1)<<62, ^uint64(0), true)
	f.Fuzz(func(t *testing.T, comm, pod, container, path, cause string, at int64, size uint64, all bool) {
		in := event(1, oom.Cause(cause), inPod(pod, pod, container), outside())
		in.ID, in.Time, in.Tier, in.Domain.Path, in.Domain.Size, in.Trigger.Comm = path, time.Unix(at%1e11, 0), cause, path, size, comm
		in.Victims[0].Comm, in.Victims[0].Memory.RSS, in.Victims[0].Cgroup.Path = comm, &size, path
		h := &web.History{}
		h.Take(in)
		h.Take(event(2, oom.CausePod, inPod("shop", "web-1", "app")))
		c := web.Config{Node: pod, Version: comm, Page: true, History: h, All: all, Health: func() events.Health {
			return events.Health{Tier: cause, Ready: true, Why: comm}
		}}
		r := get(t, c, "/")
		require.Equal(t, http.StatusOK, r.Code)
		harmless(t, r.Body.String())
		if !all && !strings.Contains(comm+pod+container+path+cause, "secret") {
			require.NotContains(t, r.Body.String(), "secret")
		}
		r = get(t, c, "/api/v1/events")
		require.Equal(t, http.StatusOK, r.Code, r.Body)
		require.True(t, json.Valid(r.Body.Bytes()))
	})
}

// harmless asserts that a page has our own elements alone, no script and no style but the
// page's files, and links to the page's own server alone.
func harmless(t *testing.T, body string) {
	t.Helper()
	for _, n := range nodes(t, body) {
		require.True(t, elements[n.Data], n.Data)
		if n.Data == "script" {
			require.Nil(t, n.FirstChild)
			require.Equal(t, []html.Attribute{{Key: "src", Val: "page.js"}, {Key: "defer"}}, n.Attr)
			continue
		}
		for _, a := range n.Attr {
			require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src", a.Key)
			if a.Key == "href" || a.Key == "action" {
				ownLink(t, a.Val)
			}
		}
	}
}
