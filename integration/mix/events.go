//go:build linux

package mix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/typeurl/v2"
)

// seenTopic is the topic of a mark: the client puts it into the stream of events when it has
// seen an exit. Events that containerd acked before stand before the mark, since the exchange
// keeps the order.
const seenTopic = "/oomwitness/seen"

// Event is an event of a container's init.
type Event struct {
	Topic  string
	ID     string
	Status uint32
}

// recorder keeps containerd's events in their order.
type recorder struct {
	events client.EventService

	mu      sync.Mutex // guards what follows
	log     []Event
	changed chan struct{}
	err     error
}

func newRecorder(ctx context.Context, events client.EventService) *recorder {
	r := &recorder{events: events, changed: make(chan struct{})}
	ch, errs := events.Subscribe(ctx, `topic~="/tasks/(oom|exit)"`, `topic=="`+seenTopic+`"`)
	go func() {
		for {
			select {
			case e := <-ch:
				r.add(e.Topic, e.Event)
			case err := <-errs:
				r.mu.Lock()
				r.err = fmt.Errorf("events: %w", err)
				r.mu.Unlock()
				return
			}
		}
	}()
	return r
}

// DecodeEvent decodes a TaskOOM, the TaskExit of an init, or a client's mark, which is a
// ContainerUpdate. It returns false for any other event.
func DecodeEvent(topic string, body typeurl.Any) (Event, bool) {
	decoded, err := typeurl.UnmarshalAny(body)
	if err != nil {
		return Event{}, false
	}
	switch d := decoded.(type) {
	case *eventsapi.TaskOOM:
		return Event{Topic: topic, ID: d.ContainerID}, true
	case *eventsapi.TaskExit:
		return Event{Topic: topic, ID: d.ContainerID, Status: d.ExitStatus}, d.ID == d.ContainerID
	case *eventsapi.ContainerUpdate:
		return Event{Topic: topic, ID: d.ID}, true
	}
	return Event{}, false
}

func (r *recorder) add(topic string, body typeurl.Any) {
	e, ok := DecodeEvent(topic, body)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, e)
	close(r.changed)
	r.changed = make(chan struct{})
}

// mark puts the client's mark into the stream.
func (r *recorder) mark(ctx context.Context, id string) error {
	return r.events.Publish(ctx, seenTopic, &eventsapi.ContainerUpdate{ID: id})
}

// listening returns when the stream of events has begun: when a mark with that ID has come
// through.
func (r *recorder) listening(ctx context.Context, id string) error {
	for {
		if err := r.mark(ctx, id); err != nil {
			return err
		}
		mine, err := r.of(ctx, id, resubscribed)
		if err != nil || has(mine, seenTopic) {
			return err
		}
	}
}

// resubscribed is the time after which the next mark is sent.
const resubscribed = 100 * time.Millisecond

// of returns a container's events. It waits for the client's mark, and then for the TaskExit,
// but at most for patience: the stock shim loses some.
func (r *recorder) of(ctx context.Context, id string, patience time.Duration) ([]Event, error) {
	late, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mine, err := r.wait(late, id, func(mine []Event) bool { return has(mine, seenTopic) && has(mine, exitTopic) })
	if errors.Is(err, context.DeadlineExceeded) {
		err = ctx.Err()
	}
	return mine, err
}

// exit waits for a container's TaskExit.
func (r *recorder) exit(ctx context.Context, id string) (Event, error) {
	mine, err := r.wait(ctx, id, func(mine []Event) bool { return has(mine, exitTopic) })
	if err != nil {
		return Event{}, fmt.Errorf("wait for the TaskExit: %w", err)
	}
	return mine[slices.IndexFunc(mine, func(e Event) bool { return e.Topic == exitTopic })], nil
}

const exitTopic = "/tasks/exit"

func has(mine []Event, topic string) bool {
	return slices.ContainsFunc(mine, func(e Event) bool { return e.Topic == topic })
}

// wait returns a container's events as soon as enough returns true.
func (r *recorder) wait(ctx context.Context, id string, enough func([]Event) bool) ([]Event, error) {
	for {
		r.mu.Lock()
		var mine []Event
		for _, e := range r.log {
			if e.ID == id {
				mine = append(mine, e)
			}
		}
		changed, err := r.changed, r.err
		r.mu.Unlock()
		if err != nil || enough(mine) {
			return mine, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return mine, ctx.Err()
		}
	}
}

// strangers counts the TaskOOMs for containers that nobody made.
func (r *recorder) strangers(known func(id string) bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.log {
		if e.Topic == "/tasks/oom" && !known(e.ID) {
			n++
		}
	}
	return n
}
