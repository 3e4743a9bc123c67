//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
)

// Forwarder hands events to containerd. Its methods may be called concurrently.
type Forwarder interface {
	// Forward returns no error only when containerd has acked the event, and
	// the instance of the containerd that did. The error is errOtherInstance, and nothing was
	// sent, where another instance than the wanted one runs.
	Forward(ctx context.Context, env *types.Envelope, want uint64) (instance uint64, err error)
	// Instance numbers the containerd instances, as far as they can be distinguished: it
	// has risen when the one that was last connected is gone.
	Instance() uint64
	Close() error
}

// anyInstance is wanted by an event that may go to any containerd instance.
const anyInstance = math.MaxUint64

var errOtherInstance = errors.New("containerd is another one than the event is for")

// wire forwards over one ttrpc connection to containerd's events service and
// makes a new one when that breaks.
//
// It sets no deadline on a call. A call that was given up can't be distinguished from
// one that containerd has yet to act on, and sending it again would publish the
// event twice: so a call ends with its answer or with its connection. It is the
// exit gate that does not wait forever.
//
// A containerd instance is recognised by its connection. The kernel closes that with
// the process, before another can have taken its place; and where a connection
// ends without that, the next one leads to the same process and socket. A
// containerd that is stopped in good order closes its socket first and goes on to
// delete what has ended: the instance lasts as long as its process.
type wire struct {
	address string
	alive   func(peer) bool

	dialling sync.Mutex // held while a connection is made; before mu

	mu       sync.Mutex // guards what follows
	link     *link      // nil when there is no connection
	peer     peer       // of the newest connection
	ended    bool       // that has ended, and it is not known whether the peer has too
	instance uint64     // peers that have
	closed   bool
}

// link is one connection.
type link struct {
	conn     net.Conn
	client   *ttrpc.Client
	instance uint64
}

// NewWire returns a Forwarder to the ttrpc socket at address. It connects at the
// first event.
func NewWire(address string) Forwarder {
	return &wire{address: strings.TrimPrefix(address, "unix://"), alive: peer.alive}
}

// Forward implements Forwarder.
func (w *wire) Forward(ctx context.Context, env *types.Envelope, want uint64) (uint64, error) {
	l, err := w.connect(ctx)
	if err != nil {
		return 0, err
	}
	if want != anyInstance && want != l.instance {
		return 0, errOtherInstance
	}
	_, err = eventsapi.NewTTRPCEventsClient(l.client).Forward(ctx, &eventsapi.ForwardRequest{Envelope: env})
	if errors.Is(err, ttrpc.ErrClosed) {
		w.drop(l)
	}
	return l.instance, err
}

// Instance implements Forwarder. It asks the kernel, since the end of a connection
// that nobody uses is noticed only later.
func (w *wire) Instance() uint64 {
	instance, sure := w.knownInstance()
	if sure {
		return instance
	}
	_, err := w.connect(context.Background())
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.ended && !w.alive(w.peer) { // nobody accepts a connection: it is gone
		w.ended = false
		w.instance++
	}
	return w.instance
}

func (w *wire) knownInstance() (instance uint64, sure bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link != nil && hungUp(w.link.conn) {
		w.dropLocked()
	}
	return w.instance, !w.ended
}

// Close ends the connection and every call on it.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.link == nil {
		return nil
	}
	return w.link.client.Close()
}

// connect returns the connection, or a new one. Only one caller dials at a time.
func (w *wire) connect(ctx context.Context) (*link, error) {
	w.dialling.Lock()
	defer w.dialling.Unlock()
	if l, err := w.current(); l != nil || err != nil {
		return l, err
	}
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", w.address)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	p := peerOf(conn, w.address)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		_ = conn.Close()
		return nil, ttrpc.ErrClosed
	}
	if w.ended && p != w.peer {
		w.instance++
	}
	w.peer, w.ended = p, false
	w.link = &link{conn: conn, client: ttrpc.NewClient(conn), instance: w.instance}
	return w.link, nil
}

// current returns the connection, or nil where there is none.
func (w *wire) current() (*link, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ttrpc.ErrClosed
	}
	return w.link, nil
}

// drop forgets a broken connection, unless another caller has already made a
// new one.
func (w *wire) drop(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link == l {
		w.dropLocked()
	}
}

func (w *wire) dropLocked() {
	_ = w.link.client.Close()
	w.link, w.ended = nil, true
}
