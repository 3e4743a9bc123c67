//go:build linux

package delivery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
)

// Instance numbers the containerd processes that the shim has seen, from 1: a later
// process has a larger number.
type Instance uint32

// AnyInstance is for an event that may go to any instance.
const AnyInstance Instance = 0

// ErrOtherInstance means that an event was not sent, since another instance runs than
// the one that the event is for.
var ErrOtherInstance = errors.New("another containerd instance runs than the event is for")

const (
	dialTimeout = 200 * time.Millisecond
	// reachTime is longer than a node with too much work needs to connect. Where nobody
	// listens the kernel refuses at once.
	reachTime = time.Second
)

// Reachable reports whether a containerd accepts connections at the path of a socket, within
// a second.
func Reachable(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: reachTime}).DialContext(ctx, "unix", address)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// Client hands events to containerd. Its methods may be called concurrently.
type Client interface {
	// Forward returns no error only when containerd has acked the event. The error is
	// [ErrOtherInstance] where another instance runs than to.
	Forward(ctx context.Context, env *types.Envelope, to Instance) error
	// Instance returns the current instance: the number has risen when the one that was
	// last connected is gone.
	Instance() Instance
	// Close ends the connection and every call on it.
	Close() error
}

// client forwards over one ttrpc connection to containerd's events service and makes
// a new connection when that one breaks.
//
// It sets no deadline on a call. Nobody can distinguish a call that was given up from
// a call that containerd has yet to act on, and to send it again would publish the
// event twice. So a call ends with its answer or with its connection. The exit gate has
// the time limit.
//
// An instance is recognised by its connection. The kernel closes the connection with
// the process, before another process can have taken its place; and where a connection
// ends without that, the next connection leads to the same process and socket. A
// containerd that is stopped in good order closes its socket first and goes on to
// delete what has ended: the instance lasts as long as its process.
type client struct {
	address string
	alive   func(peer) bool

	mu       sync.Mutex // guards what follows, and is held while a connection is made
	link     *link      // nil when there is no connection
	peer     peer       // of the newest connection
	ended    bool       // that has ended, and it is not known whether the peer has too
	instance Instance
	closed   bool
}

// link is one connection.
type link struct {
	conn     net.Conn
	events   *ttrpc.Client
	instance Instance
}

// NewClient returns a Client for the ttrpc socket at address. It connects at the first
// event.
func NewClient(address string) Client {
	return &client{address: strings.TrimPrefix(address, "unix://"), alive: peer.alive, instance: 1}
}

// Forward implements [Client].
func (c *client) Forward(ctx context.Context, env *types.Envelope, to Instance) error {
	c.mu.Lock()
	l, err := c.connectLocked(ctx)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if to != AnyInstance && to != l.instance {
		return ErrOtherInstance
	}
	_, err = eventsapi.NewTTRPCEventsClient(l.events).Forward(ctx, &eventsapi.ForwardRequest{Envelope: env})
	if errors.Is(err, ttrpc.ErrClosed) {
		c.drop(l)
	}
	return err
}

// Instance implements [Client]. It asks the kernel, since the end of a connection
// that nobody uses is noticed only later.
func (c *client) Instance() Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil && hungUp(c.link.conn) {
		c.dropLocked()
	}
	if c.link != nil {
		return c.instance
	}
	// A containerd that is there now is recognised later only by a connection.
	_, err := c.connectLocked(context.Background())
	if err != nil && c.ended && !c.alive(c.peer) { // nobody accepts a connection: it is gone
		c.ended = false
		c.instance++
	}
	return c.instance
}

// Close implements [Client].
func (c *client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.link == nil {
		return nil
	}
	return c.link.events.Close()
}

// connectLocked returns the connection, or a new one.
func (c *client) connectLocked(ctx context.Context) (*link, error) {
	if c.closed {
		return nil, ttrpc.ErrClosed
	}
	if c.link != nil {
		return c.link, nil
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", c.address)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	p := peerOf(conn, c.address)
	if c.ended && p != c.peer {
		c.instance++
	}
	c.peer, c.ended = p, false
	c.link = &link{conn: conn, events: ttrpc.NewClient(conn), instance: c.instance}
	return c.link, nil
}

// drop forgets a broken connection, unless another caller has already made a new one.
func (c *client) drop(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.dropLocked()
	}
}

func (c *client) dropLocked() {
	_ = c.link.events.Close()
	c.link, c.ended = nil, true
}
