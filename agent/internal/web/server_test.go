package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
)

var paths = []string{"/", "/api/v1/events", "/metrics", "/healthz", "/readyz", "/other"}

func TestOnlyReads(t *testing.T) {
	c := config()
	c.Metrics = http.NotFoundHandler()
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"} {
		for _, path := range paths {
			r := httptest.NewRecorder()
			web.Handler(c).ServeHTTP(r, httptest.NewRequest(method, path, strings.NewReader("body")))
			require.Equal(t, http.StatusMethodNotAllowed, r.Code, "%s %s", method, path)
			require.Equal(t, "GET, HEAD", r.Header().Get("Allow"))
		}
	}
	r := httptest.NewRecorder()
	web.Handler(c).ServeHTTP(r, httptest.NewRequest(http.MethodHead, "/", nil))
	require.Equal(t, http.StatusOK, r.Code)
}

func TestPaths(t *testing.T) {
	c := config()
	c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") })
	for path, want := range map[string]int{
		"/": 200, "/api/v1/events": 200, "/metrics": 200, "/healthz": 200, "/readyz": 200,
		"/other": 404, "/api/v1/": 404, "/metrics/": 404, "/index.html": 404,
	} {
		require.Equal(t, want, get(t, c, path).Code, path)
	}
	c.Page = false
	for path, want := range map[string]int{"/": 404, "/api/v1/events": 404, "/metrics": 200, "/healthz": 200} {
		require.Equal(t, want, get(t, c, path).Code, path)
	}
	c.Metrics = nil
	require.Equal(t, 404, get(t, c, "/metrics").Code)
}

func TestReady(t *testing.T) {
	c := config()
	c.Health = func() events.Health { return events.Health{Why: "the ledger is not loaded"} }
	r := get(t, c, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, r.Code)
	require.Equal(t, "not ready: the ledger is not loaded\n", r.Body.String())
	require.Equal(t, http.StatusOK, get(t, c, "/healthz").Code, "a restart would not help")
}

// TestNameOfAnother: a web page can have its own name point at 127.0.0.1, and must
// not read this one by it.
func TestNameOfAnother(t *testing.T) {
	c := config()
	ask := func(host string) int {
		r := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Host = host
		web.Handler(c).ServeHTTP(r, request)
		return r.Code
	}
	hosts := map[string]int{
		"localhost": 200, "localhost:8080": 200, "127.0.0.1:8080": 200, "127.0.0.53": 200, "[::1]:8080": 200, "[::1]": 200,
		"evil.example": 403, "evil.example:8080": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "": 403, "[": 403, "127.0.0.1.evil.example": 403,
	}
	c.Loopback = true
	for host, want := range hosts {
		require.Equal(t, want, ask(host), host)
	}
	c.Loopback = false
	for host := range hosts {
		require.Equal(t, 200, ask(host), host)
	}
}

// TestFewAtOnce: those that are too many wait, and are sent away in the end.
func TestFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := config(event(1, oom.CauseContainer, inPod("shop", "web-1", "app")))
		c.Health = func() events.Health {
			<-release
			return well()
		}
		h := web.Handler(c)
		var wg sync.WaitGroup
		codes := make(chan int, 3)
		for range 3 {
			wg.Go(func() {
				r := httptest.NewRecorder()
				h.ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/", nil))
				codes <- r.Code
			})
		}
		synctest.Wait()
		began := time.Now()
		require.Equal(t, http.StatusServiceUnavailable, <-codes)
		require.Equal(t, 5*time.Second, time.Since(began))
		close(release)
		wg.Wait()
		require.Equal(t, http.StatusOK, <-codes)
		require.Equal(t, http.StatusOK, <-codes)
	})
}

// pipes is a listener whose connections are net.Pipes, for a bubble's clock.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	mine, theirs := net.Pipe()
	p.conns <- theirs
	return mine
}

func serve(t *testing.T) (*pipes, func()) {
	t.Helper()
	return serveHandler(t, web.Handler(config()))
}

func serveHandler(t *testing.T, h http.Handler) (*pipes, func()) {
	t.Helper()
	listener := newPipes()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, listener, h, nil) }()
	return listener, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

// TestSlowClients: neither one that never ends its header nor one that asks for
// nothing more keeps its connection.
func TestSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serve(t)
		defer stop()
		for request, want := range map[string]time.Duration{
			"GET / HTTP/1.1\r\nHost: a\r\n":                                       5 * time.Second,
			"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n":                            60 * time.Second,
			"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc": 10 * time.Second,
		} {
			conn := listener.dial()
			began := time.Now()
			_, err := io.WriteString(conn, request)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, conn)
			require.NoError(t, err)
			require.Equal(t, want, time.Since(began), request)
			conn.Close()
		}
	})
}

// TestClientThatDoesNotRead is given up, too.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serve(t)
		defer stop()
		conn := listener.dial()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		time.Sleep(31 * time.Second)
		_, err = answerOn(conn)
		require.Error(t, err)
		conn.Close()
	})
}

// answerOn reads the status of the answer on a connection.
func answerOn(conn io.Reader) (int, error) {
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return r.StatusCode, r.Body.Close()
}

func TestLongHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serve(t)
		defer stop()
		conn := listener.dial()
		go func() {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n")
		}()
		status, err := answerOn(conn)
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
		conn.Close()
	})
}

func TestIsLoopback(t *testing.T) {
	for ip, want := range map[string]bool{"127.0.0.1": true, "::1": true, "0.0.0.0": false, "::": false, "10.0.0.1": false} {
		require.Equal(t, want, web.IsLoopback(&net.TCPAddr{IP: net.ParseIP(ip)}), ip)
	}
	require.False(t, web.IsLoopback(&net.UnixAddr{}))
}
