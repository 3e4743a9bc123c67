package web_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

// on sends bytes on a new connection, and returns the statuses of the answers: n, or fewer
// where the agent closes the connection.
func on(t *testing.T, address, request string, n int) (statuses []int, bodies []string) {
	t.Helper()
	c := dial(t, "127.0.0.1", address)
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	_, err := io.WriteString(c, request)
	require.NoError(t, err)
	in := bufio.NewReader(c)
	for len(statuses) < n {
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses, bodies
		}
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		statuses, bodies = append(statuses, answer.StatusCode), append(bodies, string(body))
	}
	return statuses, bodies
}

// TestOddRequests: whatever a client sends, it gets an answer that says what was wrong, or
// that of the route, and the agent serves the next one.
func TestOddRequests(t *testing.T) {
	c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
	c.Loopback = true
	address := served(t, web.Handler(c))
	const end = "Host: localhost\r\n\r\n"
	for name, tc := range map[string]struct {
		request string
		want    []int
	}{
		"pipelined":             {strings.Repeat("GET /api/v1/events HTTP/1.1\r\n"+end, 20), repeated(200, 20)},
		"range":                 {"GET /api/v1/events HTTP/1.1\r\nRange: bytes=0-1,5-6\r\n" + end, repeated(200, 1)},
		"conditions":            {"GET / HTTP/1.1\r\nIf-None-Match: *\r\nIf-Modified-Since: x\r\n" + end, repeated(200, 1)},
		"gzip":                  {"GET / HTTP/1.1\r\nAccept-Encoding: gzip, br, zstd\r\n" + end, repeated(200, 1)},
		"HTTP/1.0":              {"GET /healthz HTTP/1.0\r\n" + end, repeated(200, 1)},
		"HTTP/1.0, no host":     {"GET / HTTP/1.0\r\n\r\n", repeated(403, 1)},
		"HTTP/0.9":              {"GET /\r\n\r\n", repeated(400, 1)},
		"HTTP/2 preface":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", repeated(405, 1)},
		"OPTIONS *":             {"OPTIONS * HTTP/1.1\r\n" + end, repeated(405, 1)},
		"another's URL":         {"GET http://evil.example/ HTTP/1.1\r\n" + end, repeated(403, 1)},
		"two hosts":             {"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", repeated(400, 1)},
		"CONNECT":               {"CONNECT localhost:80 HTTP/1.1\r\n" + end, repeated(405, 1)},
		"a body":                {"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\nHost: localhost\r\n\r\nhelloGET /healthz HTTP/1.1\r\n" + end, repeated(200, 2)},
		"a chunked body":        {"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: localhost\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n" + end, repeated(200, 2)},
		"two lengths":           {"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n" + end, repeated(400, 1)},
		"a control character":   {"GET /\x01 HTTP/1.1\r\n" + end, repeated(400, 1)},
		"a header with NUL":     {"GET /healthz HTTP/1.1\r\nX: \x00\r\n" + end, repeated(400, 1)},
		"a folded header":       {"GET /healthz HTTP/1.1\r\nX: a\r\n b\r\n" + end, repeated(200, 1)},
		"an upgrade":            {"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + end, repeated(200, 1)},
		"a path above":          {"GET /../../etc/passwd HTTP/1.1\r\n" + end, repeated(307, 1)},
		"an encoded path above": {"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + end, repeated(404, 1)},
		"another's path":        {"GET //evil.example/ HTTP/1.1\r\n" + end, repeated(307, 1)},
		"an odd query":          {"GET /api/v1/events?pod=%0d%0aX:%20y&%00=1 HTTP/1.1\r\n" + end, repeated(400, 1)},
		"a text in UTF-16":      {"GET /api/v1/events?pod=%fe%ff%00a HTTP/1.1\r\n" + end, repeated(400, 1)},
		"many parameters":       {"GET /api/v1/events?" + strings.Repeat("cause=pod&", 200) + " HTTP/1.1\r\n" + end, repeated(200, 1)},
		"too many parameters":   {"GET /api/v1/events?" + strings.Repeat("cause=pod&", 210) + " HTTP/1.1\r\n" + end, repeated(400, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			statuses, bodies := on(t, address, tc.request, len(tc.want))
			require.Equal(t, tc.want, statuses, bodies)
			statuses, _ = on(t, address, "GET /healthz HTTP/1.1\r\n"+end, 1)
			require.Equal(t, repeated(200, 1), statuses)
		})
	}
}

func repeated(status, n int) (list []int) {
	for range n {
		list = append(list, status)
	}
	return list
}

// TestRedirectsStay: no path makes the agent redirect to another host.
func TestRedirectsStay(t *testing.T) {
	for _, path := range []string{"//evil.example/", "///evil.example", `/\evil.example/..`, "/.//evil.example/", "/x/..//evil.example//"} {
		r := get(t, config(), path)
		to := r.Header().Get("Location")
		require.False(t, strings.HasPrefix(to, "//") || strings.HasPrefix(to, `/\`) || strings.Contains(to, "://"), "%s: %s", path, to)
	}
}
