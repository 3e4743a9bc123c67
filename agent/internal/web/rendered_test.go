package web_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
)

// longest is a victim with the longest names that Kubernetes and the kernel take.
func longest(n int) events.Victim {
	long := func(length int) string { return fmt.Sprintf("%0*d", length, n) }
	v := inPod(long(63), long(253), long(63))
	v.Comm = strings.Repeat("\x01", 15)
	v.Pod.UID, v.Container.ID, v.Container.Image = long(36), long(64), long(400)
	v.Cgroup.Path = "/" + strings.Repeat(`\x01`, 127)
	v.Memory = events.Memory{RSS: new(uint64(1 << 40)), Anon: new(uint64(1 << 40)), File: new(uint64(1 << 40)), Shmem: new(uint64(1 << 40)), TotalVM: 1 << 50}
	return v
}

// crowded is a Config with as many events and victims as there can be, all with the longest
// names.
func crowded() web.Config {
	c := config()
	c.All = true
	const many = 49 // events of 64 victims; the others have one
	for n := range web.MaxVictims - 63*many {
		victims := 1
		if n >= web.MaxVictims-64*many { // the newest
			victims = 64
		}
		in := event(n, oom.CauseNode)
		in.Memory = &oom.Memory{Usage: 1 << 40, Limit: 1 << 40, Anon: 1 << 39, File: 1 << 39, Candidates: make([]oom.Candidate, 8)}
		for i := range victims {
			in.Victims = append(in.Victims, longest(64*n+i))
		}
		c.History.Take(in)
	}
	c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("metric 1\n", 100000))
	})
	return c
}

// routes are those that are made at each request.
var routes = []string{"/", "/?limit=200", "/api/v1/events", "/api/v1/events?limit=500", why.PathWhy, why.PathTop + "?since=87600h", why.PathStatus, "/metrics"}

// TestLargest: the largest answer of each route has room.
func TestLargest(t *testing.T) {
	c := crowded()
	require.Greater(t, c.History.Extent().Events, 950)
	for _, route := range routes {
		r := get(t, c, route)
		require.Equal(t, http.StatusOK, r.Code, "%s: %s", route, r.Body)
		t.Logf("%s: %d KiB", route, r.Body.Len()>>10)
	}
	var a web.Answer
	require.NoError(t, json.Unmarshal(get(t, c, "/api/v1/events?limit=500").Body.Bytes(), &a))
	require.NotEmpty(t, a.Next)
}

// TestTooLarge: an answer for which there is no room is refused, with the reason.
func TestTooLarge(t *testing.T) {
	c := config()
	c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		for range 3000 {
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		}
	})
	r := get(t, c, "/metrics")
	require.Equal(t, http.StatusInternalServerError, r.Code)
	require.Equal(t, "the answer could not be made: it has more than 2097152 bytes: ask for less, such as with limit=10\n", r.Body.String())
	require.Empty(t, r.Header().Get("Content-Encoding"))
}

// silent asks for a route on a connection, and reads nothing but the first byte.
func silent(t *testing.T, from, to, route string) {
	t.Helper()
	c := dial(t, from, to)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", route); err == nil {
		_, _ = c.Read(make([]byte, 1)) // fails where the connection had to make room
	}
}

// TestSilentReaders: whoever asks and does not read, from one address or from many, keeps no
// answer from anybody else, and the answers that wait for them are bounded.
func TestSilentReaders(t *testing.T) {
	c := crowded()
	for name, peers := range map[string]int{"one peer": 1, "many peers": 20} {
		t.Run(name, func(t *testing.T) {
			var closed atomic.Int32
			address := servedCounting(t, web.Handler(c), func(why web.Reason) {
				if why == web.TooManyAnswers {
					closed.Add(1)
				}
			})
			before := heap()
			for i := range 20 {
				silent(t, fmt.Sprintf("127.0.1.%d", 1+i%peers), address, []string{"/metrics", "/api/v1/events"}[i%2])
			}
			require.Less(t, heap(), before+8<<20, "4 MiB of answers, and the connections")
			for _, route := range routes {
				conn := dial(t, "127.0.0.1", address)
				_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", route)
				require.NoError(t, err)
				status, err := answerOn(conn)
				require.NoError(t, err, route)
				require.Equal(t, http.StatusOK, status, route)
			}
			require.Positive(t, closed.Load(), "each is counted")
		})
	}
}

// TestSteadyReader: a client that reads slowly gets all of a large answer, however long that
// takes.
func TestSteadyReader(t *testing.T) {
	c := crowded()
	want := get(t, c, "/metrics").Body.Len()
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serveHandler(t, web.Handler(c))
		defer stop()
		conn := listener.dial()
		defer conn.Close()
		began := time.Now()
		_, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.EqualValues(t, want, answer.ContentLength)
		got := 0
		for buf := make([]byte, 4<<10); got < want; time.Sleep(2 * time.Second) {
			n, err := io.ReadFull(answer.Body, buf[:min(len(buf), want-got)])
			require.NoError(t, err)
			got += n
		}
		require.Greater(t, time.Since(began), 5*time.Minute)
	})
}

// TestStoppedReader: a client that has stopped reading is given up soon.
func TestStoppedReader(t *testing.T) {
	c := crowded()
	synctest.Test(t, func(t *testing.T) {
		listener, stop := serveHandler(t, web.Handler(c))
		defer stop()
		conn := listener.dial()
		defer conn.Close()
		_, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 100<<10))
		require.NoError(t, err)
		time.Sleep(11 * time.Second)
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "the agent has closed the connection")
		other := listener.dial()
		defer other.Close()
		_, err = io.WriteString(other, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		status, err := answerOn(other)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	})
}

// TestManyAtOnce: answers that make room for each other do not wait for each other.
func TestManyAtOnce(t *testing.T) {
	address := served(t, web.Handler(crowded()))
	var clients sync.WaitGroup
	for i := range 12 {
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 2, byte(1+i))}
		clients.Go(func() {
			for range 2 {
				c, err := (&net.Dialer{LocalAddr: from}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"/metrics", "/api/v1/events"}[i%2])
				if i%4 < 2 { // reads a part
					_, _ = io.ReadFull(c, make([]byte, 1000))
				}
				_ = c.Close()
			}
		})
	}
	clients.Wait()
	conn := dial(t, "127.0.0.9", address)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	status, err := answerOn(conn)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

// TestHead: HEAD says how long the answer of GET is, and has no body.
func TestHead(t *testing.T) {
	address := served(t, web.Handler(crowded()))
	for _, route := range routes {
		head, err := http.Head("http://" + address + route)
		require.NoError(t, err)
		require.NoError(t, head.Body.Close())
		answer, err := http.Get("http://" + address + route)
		require.NoError(t, err)
		text, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.EqualValues(t, len(text), answer.ContentLength, route)
		require.InDelta(t, len(text), head.ContentLength, 64, route) // the time of the answer has its digits
	}
}
