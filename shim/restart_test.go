//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

const oomEvent, exitEvent, deleteEvent = "/tasks/oom c", "/tasks/exit c", "/tasks/delete c"

// restarts are all orders of what a containerd that starts calls, with and without a State.
func restarts() [][]string {
	return append(orders("Connect", "Pids", "Wait"), orders("Connect", "Pids", "Wait", "State")...)
}

// orders returns all orders of names.
func orders(names ...string) (all [][]string) {
	if len(names) == 0 {
		return [][]string{nil}
	}
	for i, first := range names {
		for _, rest := range orders(slices.Delete(slices.Clone(names), i, i+1)...) {
			all = append(all, append([]string{first}, rest...))
		}
	}
	return all
}

// restart is when init ends, and which events the next instance gets of that.
type restart struct {
	name string
	// The instance before is there, none is, and the next one has made all its calls.
	before, between, after step
	want                   []string
}

func nothing(*testing.T, *bench) {}

// kinds are the restarts, given what has init end by an OOM kill.
func kinds(killed step) []restart {
	return []restart{
		{"ended before", killed, nothing, nothing, []string{oomEvent}},
		{"ends between", nothing, killed, nothing, []string{oomEvent, exitEvent}},
		{"ends after", nothing, nothing, killed, []string{oomEvent, exitEvent}},
	}
}

// A containerd that starts connects, asks for the Pids and waits. Whatever the order, it
// has the TaskOOM once, ahead of the exit. containerd 2.4 begins to listen for events when
// it has connected to all shims (cmd/containerd/command/main.go).
func TestARestartInAnyOrder(t *testing.T) {
	for _, order := range restarts() {
		for _, k := range kinds(isKilled) {
			for when, early := range map[string]bool{"listens at once": true, "listens when it has connected": false} {
				if early && asksFirst(order) {
					continue
				}
				t.Run(strings.Join(order, ", ")+", "+k.name+", "+when, bubble(func(t *testing.T) {
					b := newBench(t)
					b.createInPod(t, "c")
					connects(t, b)
					k.before(t, b)
					dies(t, b)
					k.between(t, b)
					if early {
						isBack(t, b)
					}
					seen := make(chan []string, 1)
					for _, call := range order {
						if call == "Wait" {
							go func() {
								_, err := queries[call](b)
								require.NoError(t, err)
								seen <- b.events.all()
							}()
							settle()
							continue
						}
						_, err := queries[call](b)
						require.NoError(t, err)
						if call == "Connect" && !early {
							isBack(t, b)
						}
					}
					k.after(t, b)
					require.Equal(t, oomEvent, (<-seen)[0])
					settles(t, b)
					require.Equal(t, k.want, b.events.all())
				}))
			}
		}
	}
}

// asksFirst reports whether a State comes ahead of the Connect. State is held, and an
// instance that listened meanwhile would get its events before it has connected.
func asksFirst(order []string) bool {
	state := slices.Index(order, "State")
	return state >= 0 && state < slices.Index(order, "Connect")
}

// endpoint is the events endpoint of one containerd instance, with a socket of its own.
type endpoint struct {
	net.Listener
	server *ttrpc.Server
	conns  chan net.Conn
	events chan string
}

func (e *endpoint) Forward(_ context.Context, r *eventsapi.ForwardRequest) (*ptypes.Empty, error) {
	e.events <- r.Envelope.Topic + " c"
	return &ptypes.Empty{}, nil
}

func (e *endpoint) Accept() (net.Conn, error) {
	conn, err := e.Listener.Accept()
	if err == nil {
		e.conns <- conn
	}
	return conn, err
}

// startEndpoint has an instance listen in the place of the one before.
func startEndpoint(t *testing.T, path string) *endpoint {
	t.Helper()
	require.NoError(t, os.RemoveAll(path))
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	server, err := ttrpc.NewServer()
	require.NoError(t, err)
	e := &endpoint{listener, server, make(chan net.Conn, 16), make(chan string, 16)}
	eventsapi.RegisterTTRPCEventsService(server, e)
	go func() { _ = server.Serve(context.WithoutCancel(t.Context()), e) }()
	t.Cleanup(func() { e.die() })
	return e
}

// die ends the instance: the shim sees the end of the connections at once, as the kernel
// would have it.
func (e *endpoint) die() {
	_ = e.Close()
	for len(e.conns) > 0 {
		conn := <-e.conns
		_ = conn.(*net.UnixConn).CloseWrite()
	}
	_ = e.server.Close()
}

// gets returns the events up to one of a kind.
func (e *endpoint) gets(t *testing.T, last string) (all []string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for !slices.Contains(all, last) {
		select {
		case event := <-e.events:
			all = append(all, event)
		case <-deadline:
			require.Fail(t, "an event is missing", "%s after %v", last, all)
		}
	}
	return all
}

// The same with sockets: nothing but the peer of its socket says that an instance is
// another one. An event that waits for a retry would come at any time, and so ahead of the
// Connect: init does not end between the instances.
func TestARestartIsKnownByItsPeer(t *testing.T) {
	killed := func(t *testing.T, b *bench) {
		t.Helper()
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
	}
	for _, order := range restarts() {
		for _, k := range kinds(killed) {
			if asksFirst(order) || k.name == "ends between" {
				continue
			}
			t.Run(strings.Join(order, ", ")+", "+k.name, func(t *testing.T) {
				t.Parallel()
				path := filepath.Join(t.TempDir(), "s")
				first := startEndpoint(t, path)
				b := newOpenBench(t, func(_ *bench, o *Options) { o.Client = delivery.NewClient("unix://" + path) })
				b.createInPod(t, "c")
				connects(t, b)
				k.before(t, b)
				if !slices.Contains(k.want, exitEvent) {
					require.Equal(t, []string{oomEvent, exitEvent}, first.gets(t, exitEvent))
					require.NoError(t, b.container("c").loop.Wait(t.Context(), (*exit.State).Drained))
				}
				first.die()
				k.between(t, b)
				next := startEndpoint(t, path)
				waited := make(chan error, 1)
				for _, call := range order {
					if call != "Wait" {
						_, err := queries[call](b)
						require.NoError(t, err)
						continue
					}
					go func() {
						got, err := queries[call](b)
						if err == nil && got != "137" {
							err = fmt.Errorf("status %s", got)
						}
						waited <- err
					}()
				}
				k.after(t, b)
				require.NoError(t, <-waited)
				loop := b.container("c").loop
				deletes(t, b)
				require.Equal(t, append(slices.Clone(k.want), deleteEvent), next.gets(t, deleteEvent))
				if err := loop.Wait(t.Context(), (*exit.State).Drained); !errors.Is(err, exit.ErrEnded) {
					require.NoError(t, err)
				}
			})
		}
	}
}
