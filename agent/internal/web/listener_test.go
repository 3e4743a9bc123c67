package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/web"
)

// served serves a handler on loopback, and returns the address.
func served(t *testing.T, h http.Handler) string {
	t.Helper()
	return servedCounting(t, h, nil)
}

// servedCounting is served with a function that is called for connections that are closed.
func servedCounting(t *testing.T, h http.Handler, closed func(web.Reason)) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, listener, h, closed) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

// dial connects from an address of this machine.
func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask makes a request on a connection, and leaves it open.
func ask(c net.Conn, path string) (int, error) {
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
		return 0, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

// TestIdleConnections: whoever holds connections open, silent or between two requests,
// from one address or from many, holds up no probe, and no connection that is in use of
// somebody who has few.
func TestIdleConnections(t *testing.T) {
	health := func() events.Health { return events.Health{Ready: true} }
	for name, h := range map[string]http.Handler{
		"main":   web.Handler(web.Config{Health: health}),
		"health": web.HealthHandler(health),
	} {
		for who, peers := range map[string]int{"one peer": 1, "ten peers": 10, "all peers": 200} {
			for _, silent := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, silent %v", name, who, silent), func(t *testing.T) {
					address := served(t, h)
					steady := dial(t, "127.0.0.1", address)
					for i := range 200 {
						c := dial(t, fmt.Sprintf("127.0.1.%d", 1+i%peers), address)
						if !silent {
							_, err := ask(c, "/healthz")
							require.NoError(t, err)
						}
					}
					for range 10 {
						probe := dial(t, "127.0.0.1", address)
						status, err := ask(probe, "/healthz")
						require.NoError(t, err)
						require.Equal(t, http.StatusOK, status)
						require.NoError(t, probe.Close())
					}
					if peers < 200 {
						status, err := ask(steady, "/readyz")
						require.NoError(t, err)
						require.Equal(t, http.StatusOK, status)
					}
				})
			}
		}
	}
}

// TestLimit: of one peer the oldest goes, of all the oldest of whoever has the most.
func TestLimit(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var closed []web.Reason
	l := web.Limit(inner, web.Bounds{Connections: 4, ConnectionsOfAddress: 3, Closed: func(why web.Reason) { closed = append(closed, why) }})
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	var here, there []net.Conn
	connect := func(from string) {
		there = append(there, dial(t, from, inner.Addr().String()))
		c, err := l.Accept()
		require.NoError(t, err)
		here = append(here, c)
	}
	open := func() (list []int) {
		for i, c := range there {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				list = append(list, i)
			}
		}
		return list
	}
	for range 4 {
		connect("127.0.0.2")
	}
	require.Equal(t, []int{1, 2, 3}, open(), "three of one peer")
	connect("127.0.0.3")
	connect("127.0.0.3")
	require.Equal(t, []int{2, 3, 4, 5}, open(), "four in all")
	require.NoError(t, here[2].Close())
	require.Error(t, here[2].Close(), "twice")
	connect("127.0.0.4")
	require.Equal(t, []int{3, 4, 5, 6}, open())
	require.Equal(t, []web.Reason{web.TooManyConnections, web.TooManyConnections}, closed, "by the listener, and not by their clients")
}

// TestHealthAlone: nothing else is answered there.
func TestHealthAlone(t *testing.T) {
	ready := events.Health{Why: "no ledger", Journal: "full"}
	h := web.HealthHandler(func() events.Health { return ready })
	address := served(t, h)
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 404, "/": 404, "/api/v1/events": 404} {
		status, err := ask(dial(t, "127.0.0.1", address), path)
		require.NoError(t, err)
		require.Equal(t, want, status, path)
	}
	ready = events.Health{Ready: true, Journal: "full"}
	answer, err := http.Get("http://" + address + "/readyz")
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, "ok\nwithout journal: full\n", string(body))
}
