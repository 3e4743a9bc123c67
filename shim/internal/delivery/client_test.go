//go:build linux

package delivery

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

type acksAll struct{}

func (acksAll) Forward(context.Context, *eventsapi.ForwardRequest) (*ptypes.Empty, error) {
	return &ptypes.Empty{}, nil
}

// endpoint is a real events endpoint, and the connections that it has.
type endpoint struct {
	net.Listener
	server *ttrpc.Server
	conns  chan net.Conn
	ended  chan struct{}
}

func (e *endpoint) Accept() (net.Conn, error) {
	conn, err := e.Listener.Accept()
	if err == nil {
		e.conns <- conn
	}
	return conn, err
}

func listen(t *testing.T, path string) *endpoint {
	t.Helper()
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	server, err := ttrpc.NewServer()
	require.NoError(t, err)
	e := &endpoint{l, server, make(chan net.Conn, 8), make(chan struct{})}
	eventsapi.RegisterTTRPCEventsService(server, acksAll{})
	go func() {
		defer close(e.ended)
		_ = server.Serve(context.Background(), e)
	}()
	t.Cleanup(func() { e.die() })
	return e
}

// die closes the socket and all connections.
func (e *endpoint) die() {
	_ = e.Close()
	<-e.ended
	for len(e.conns) > 0 {
		e.cut()
	}
	_ = e.server.Close()
}

// cut closes the oldest connection, whose end can be seen when it returns: Close
// alone may leave that to a reader.
func (e *endpoint) cut() {
	conn := <-e.conns
	_ = conn.(*net.UnixConn).CloseWrite()
	_ = conn.Close()
}

func TestInstances(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	w := NewClient("unix://" + path).(*client)
	w.alive = func(peer) bool { return false } // all of them are this process
	defer w.Close()
	forward := func() Instance {
		t.Helper()
		for { // a connection that was found broken is made again at the next try
			err := w.Forward(context.Background(), &types.Envelope{}, AnyInstance)
			if err == nil {
				return w.Instance()
			}
			require.ErrorIs(t, err, ttrpc.ErrClosed)
		}
	}
	require.EqualValues(t, 1, w.Instance(), "nobody has been there")
	err := w.Forward(context.Background(), &types.Envelope{}, AnyInstance)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualValues(t, 1, w.Instance())

	a := listen(t, path)
	require.EqualValues(t, 1, forward())
	require.EqualValues(t, 1, w.Instance())
	a.cut()
	require.EqualValues(t, 1, w.Instance(), "a connection has ended, its containerd has not")
	require.EqualValues(t, 1, forward())
	a.cut()
	require.EqualValues(t, 1, forward(), "noticed at the next event")

	a.die()
	require.EqualValues(t, 2, w.Instance())
	require.EqualValues(t, 2, w.Instance())
	b := listen(t, path)
	require.EqualValues(t, 2, forward())
	require.EqualValues(t, 2, w.Instance())

	b.die()
	c := listen(t, path)
	require.EqualValues(t, 3, w.Instance(), "another took its place unseen")
	require.EqualValues(t, 3, forward())
	c.die()
	listen(t, path)
	require.EqualValues(t, 4, forward(), "the same, noticed at the next event")
	require.NoError(t, w.Close())
	err = w.Forward(context.Background(), &types.Envelope{}, AnyInstance)
	require.ErrorIs(t, err, ttrpc.ErrClosed)
}

// A containerd that has closed its socket and goes on is the same one until its
// process is gone; this process stands for it.
func TestAnInstanceLastsAsLongAsItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	w := NewClient("unix://" + path).(*client)
	defer w.Close()
	old := listen(t, path)
	err := w.Forward(context.Background(), &types.Envelope{}, AnyInstance)
	require.NoError(t, err)
	old.die()
	require.EqualValues(t, 1, w.Instance())
	require.EqualValues(t, 1, w.Instance())
	listen(t, path)
	require.EqualValues(t, 2, w.Instance(), "another has taken its place")

	cmd := exec.CommandContext(t.Context(), "sleep", "infinity")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	pid := cmd.Process.Pid
	startTicks, err := bpf.StartTicks(pid)
	require.NoError(t, err)
	p := peer{pid: int32(pid), startTicks: startTicks}
	require.True(t, p.alive())
	p.startTicks++
	require.False(t, p.alive(), "its number is another's")
	require.False(t, peer{pid: int32(pid)}.alive())
}
