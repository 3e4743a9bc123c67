//go:build linux

package shimtest

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	_ "github.com/containerd/containerd/api/events" // registers the types of events
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
)

// Event is one call of a shim to the events endpoint.
type Event struct {
	// Seq counts the calls to the endpoint, from 1.
	Seq int
	// Received is when the call came in.
	Received time.Time
	// Accepted is when the endpoint accepted the event; zero if it never did.
	Accepted time.Time
	// Envelope is the event as the shim sent it.
	Envelope *types.Envelope
	// Topic is the topic of the event.
	Topic string
	// ContainerID is the container ID in the event, "" if it has none.
	ContainerID string
	// Message is the decoded event, such as a *events.TaskOOM.
	Message any
}

// String returns the topic and container of the event.
func (e *Event) String() string { return fmt.Sprintf("%s(%s)", e.Topic, e.ContainerID) }

func newEvent(envelope *types.Envelope) (*Event, error) {
	message, err := typeurl.UnmarshalAny(envelope.GetEvent())
	if err != nil {
		return nil, fmt.Errorf("event on %s: %w", envelope.GetTopic(), err)
	}
	e := &Event{Received: time.Now(), Envelope: envelope, Topic: envelope.GetTopic(), Message: message}
	if of, ok := message.(interface{ GetContainerID() string }); ok {
		e.ContainerID = of.GetContainerID()
	}
	return e, nil
}

// Pred selects events.
type Pred func(*Event) bool

// Any selects all events.
func Any(*Event) bool { return true }

// Topic selects the events of one topic, such as "/tasks/oom".
func Topic(topic string) Pred { return func(e *Event) bool { return e.Topic == topic } }

// Container selects the events of one container.
func Container(id string) Pred { return func(e *Event) bool { return e.ContainerID == id } }

// All selects the events that all of preds select.
func All(preds ...Pred) Pred {
	return func(e *Event) bool {
		return !slices.ContainsFunc(preds, func(p Pred) bool { return !p(e) })
	}
}

// Events is the endpoint to which shims publish. It is safe for concurrent use.
type Events struct {
	path string

	mu       sync.Mutex
	attempts []*Event              // guarded by mu; in order of arrival
	accepted []*Event              // guarded by mu; in order of acceptance
	changed  chan struct{}         // guarded by mu; closed at every change of the two above
	rules    []*rule               // guarded by mu
	listener net.Listener          // guarded by mu; nil while the endpoint is absent
	conns    map[*oneConn]struct{} // guarded by mu

	serving sync.WaitGroup
}

func newEvents(path string) *Events {
	return &Events{path: path, changed: make(chan struct{}), conns: make(map[*oneConn]struct{})}
}

// Address returns the path of the endpoint's socket.
func (e *Events) Address() string { return e.path }

// All returns every accepted event, in order of acceptance.
func (e *Events) All() []*Event { return e.Select(Any) }

// Select returns every accepted event that pred selects.
func (e *Events) Select(pred Pred) []*Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return filter(e.accepted, pred)
}

// Attempts returns every call to the endpoint, accepted or not, in order of arrival.
func (e *Events) Attempts() []*Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.attempts)
}

// Wait returns the first accepted event that pred selects, past ones included.
func (e *Events) Wait(ctx context.Context, pred Pred) (*Event, error) {
	return e.WaitN(ctx, pred, 1)
}

// WaitN returns the n-th accepted event that pred selects, past ones included.
func (e *Events) WaitN(ctx context.Context, pred Pred, n int) (*Event, error) {
	return e.wait(ctx, func() []*Event { return e.accepted }, pred, n)
}

// WaitAttempt returns the first call, accepted or not, that pred selects.
func (e *Events) WaitAttempt(ctx context.Context, pred Pred) (*Event, error) {
	return e.wait(ctx, func() []*Event { return e.attempts }, pred, 1)
}

// WaitAttempts returns the n-th call, accepted or not, that pred selects.
func (e *Events) WaitAttempts(ctx context.Context, pred Pred, n int) (*Event, error) {
	return e.wait(ctx, func() []*Event { return e.attempts }, pred, n)
}

func (e *Events) wait(ctx context.Context, of func() []*Event, pred Pred, n int) (*Event, error) {
	for {
		e.mu.Lock()
		all, changed := of(), e.changed
		found := filter(all, pred)
		e.mu.Unlock()
		if len(found) >= n {
			return found[n-1], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for event: %w; have %s", ctx.Err(), list(all))
		}
	}
}

func filter(events []*Event, pred Pred) []*Event {
	var found []*Event
	for _, event := range events {
		if pred(event) {
			found = append(found, event)
		}
	}
	return found
}

func list(events []*Event) string {
	var names []string
	for _, event := range events {
		names = append(names, event.String())
	}
	return "[" + strings.Join(names, " ") + "]"
}

func (e *Events) attempt(event *Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	event.Seq = len(e.attempts) + 1
	e.attempts = append(e.attempts, event)
	e.notifyLocked()
}

func (e *Events) accept(event *Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	event.Accepted = time.Now()
	e.accepted = append(e.accepted, event)
	e.notifyLocked()
}

func (e *Events) notifyLocked() {
	close(e.changed)
	e.changed = make(chan struct{})
}
