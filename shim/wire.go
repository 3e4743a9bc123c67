//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	eventsapi "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/ttrpc"
)

// Forwarder hands an event to containerd. Forward returns nil only when
// containerd has acknowledged it; it may be called concurrently.
type Forwarder interface {
	Forward(ctx context.Context, env *types.Envelope) error
	Close() error
}

// wire forwards over one ttrpc connection to containerd's events service and
// makes a new one when that breaks.
//
// It sets no deadline on a call. A call that was given up can't be told from
// one that containerd has yet to act on, and sending it again would publish the
// event twice: so a call ends with its answer or with its connection. It is the
// barrier that does not wait forever.
type wire struct {
	address string

	mu     sync.Mutex    // guards what follows
	client *ttrpc.Client // nil when there is no connection
	closed bool
}

// NewWire gives a Forwarder to the ttrpc socket at address. It connects at the
// first event.
func NewWire(address string) Forwarder { return &wire{address: address} }

// Forward implements Forwarder.
func (w *wire) Forward(ctx context.Context, env *types.Envelope) error {
	client, err := w.connect(ctx)
	if err != nil {
		return err
	}
	_, err = eventsapi.NewTTRPCEventsClient(client).Forward(ctx, &eventsapi.ForwardRequest{Envelope: env})
	if errors.Is(err, ttrpc.ErrClosed) {
		w.drop(client)
	}
	return err
}

// Close ends the connection and every call on it.
func (w *wire) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if w.client == nil {
		return nil
	}
	return w.client.Close()
}

// connect gives the connection, or a new one. Only one caller dials at a time;
// the dialer bounds it.
func (w *wire) connect(ctx context.Context) (*ttrpc.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ttrpc.ErrClosed
	}
	if w.client != nil {
		return w.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dialer.ContextDialer(ctx, w.address)
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %q: %w", w.address, err)
	}
	w.client = ttrpc.NewClient(conn)
	return w.client, nil
}

// drop forgets a broken connection, unless another caller has already made a
// new one.
func (w *wire) drop(client *ttrpc.Client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == client {
		w.client = nil
		_ = client.Close()
	}
}
