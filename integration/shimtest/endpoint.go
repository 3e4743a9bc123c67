//go:build linux

package shimtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/types/known/emptypb"
)

// StopListening makes the endpoint absent, as while containerd is down: its socket is gone and
// all connections are closed.
func (e *Events) StopListening() {
	e.mu.Lock()
	listener := e.listener
	e.listener = nil
	e.mu.Unlock()
	if listener != nil {
		_ = listener.Close()
	}
	e.CloseConnections()
}

// CloseConnections closes all connections; shims may connect again at once.
func (e *Events) CloseConnections() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for conn := range e.conns {
		_ = conn.Close()
	}
}

// Resume makes the endpoint listen again.
func (e *Events) Resume() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listener != nil {
		return nil
	}
	if err := os.Remove(e.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	//nolint:noctx // a unix socket is bound at once
	listener, err := net.Listen("unix", e.path)
	if err != nil {
		return fmt.Errorf("listen for events: %w", err)
	}
	e.listener = listener
	e.serving.Go(func() { e.serve(listener) })
	return nil
}

func (e *Events) close() {
	e.StopListening()
	e.serving.Wait()
}

// serve starts a ttrpc server for each connection: a call then knows its connection.
func (e *Events) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		only := newOneConn(conn)
		e.mu.Lock()
		if e.listener != listener {
			e.mu.Unlock()
			_ = only.Close()
			continue
		}
		e.conns[only] = struct{}{}
		e.mu.Unlock()
		e.serving.Go(func() { e.serveConn(only) })
	}
}

func (e *Events) serveConn(conn *oneConn) {
	defer func() {
		_ = conn.Close()
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.conns, conn)
	}()
	server, err := ttrpc.NewServer()
	if err != nil {
		return
	}
	eventsapi.RegisterTTRPCEventsService(server, &forwarder{events: e, conn: conn})
	// The context ends with the connection, and then all held calls end: ttrpc alone would wait
	// for their answers.
	_ = server.Serve(conn.ctx, conn)
	_ = server.Close()
}

// forwarder is the events service of one connection.
type forwarder struct {
	events *Events
	conn   *oneConn
}

// Forward implements containerd's ttrpc events service.
func (f *forwarder) Forward(ctx context.Context, req *eventsapi.ForwardRequest) (*emptypb.Empty, error) {
	event, err := newEvent(req.GetEnvelope())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	f.events.attempt(event)
	accept := sync.OnceFunc(func() { f.events.accept(event) })
	for _, r := range f.events.take(event) {
		err := r.apply(ctx, &call{event: event, accept: accept, close: func() { _ = f.conn.Close() }})
		if err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	accept()
	return &emptypb.Empty{}, nil
}

// oneConn is a connection and a listener that offers this connection alone: its second Accept
// waits until the connection is closed.
type oneConn struct {
	net.Conn

	ctx   context.Context // ends with the connection
	end   context.CancelFunc
	taken bool // only the accepting goroutine uses it
}

func newOneConn(conn net.Conn) *oneConn {
	c := &oneConn{Conn: conn}
	// ttrpc logs every connection that ends, and here the test ends connections on purpose.
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	ctx := log.WithLogger(context.Background(), logrus.NewEntry(quiet))
	c.ctx, c.end = context.WithCancel(ctx)
	return c
}

// Accept implements net.Listener.
func (c *oneConn) Accept() (net.Conn, error) {
	if !c.taken {
		c.taken = true
		return c, nil
	}
	<-c.ctx.Done()
	return nil, net.ErrClosed
}

// Close implements net.Listener and net.Conn.
func (c *oneConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// Addr implements net.Listener.
func (c *oneConn) Addr() net.Addr { return c.LocalAddr() }
