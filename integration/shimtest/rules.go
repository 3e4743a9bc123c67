//go:build linux

package shimtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// errClosed ends a call whose connection the endpoint has closed.
var errClosed = errors.New("connection closed by the test")

// rule changes what the endpoint does with the calls that pred selects. All
// rules that select a call apply to it, until one ends it.
type rule struct {
	pred Pred
	left int // calls that it still holds for; negative: all; guarded by Events.mu
	// apply returns nil to let the event be accepted. accept lets it be
	// accepted before apply returns.
	apply func(ctx context.Context, call *call) error
}

// call is one call to the endpoint while it is being answered.
type call struct {
	event  *Event
	accept func()
	close  func() // closes the connection that the call came by
}

// Hold leaves every call that pred selects unanswered until release is called
// or the caller gives up. A released call is accepted.
func (e *Events) Hold(pred Pred) (release func()) {
	released := make(chan struct{})
	r := e.add(pred, -1, func(ctx context.Context, _ *call) error {
		select {
		case <-released:
			return ctx.Err() // one whose caller is gone is not accepted any more
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() {
		e.remove(r)
		close(released)
	})
}

// Fail answers the next n calls that pred selects with err; a negative n means
// all of them. stop ends it early.
func (e *Events) Fail(pred Pred, err error, n int) (stop func()) {
	r := e.add(pred, n, func(context.Context, *call) error { return err })
	return func() { e.remove(r) }
}

// Delay accepts every call that pred selects only after d. stop ends it for
// later calls.
func (e *Events) Delay(pred Pred, d time.Duration) (stop func()) {
	r := e.add(pred, -1, func(ctx context.Context, _ *call) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return func() { e.remove(r) }
}

// Drop closes the connection in the middle of the next n calls that pred
// selects, without accepting the event; a negative n means all of them.
func (e *Events) Drop(pred Pred, n int) (stop func()) {
	r := e.add(pred, n, func(_ context.Context, c *call) error {
		c.close()
		return errClosed
	})
	return func() { e.remove(r) }
}

// LoseAnswer accepts the next n events that pred selects and then closes the
// connection, so that the shim cannot know.
func (e *Events) LoseAnswer(pred Pred, n int) (stop func()) {
	r := e.add(pred, n, func(_ context.Context, c *call) error {
		c.accept()
		c.close()
		return errClosed
	})
	return func() { e.remove(r) }
}

func (e *Events) add(pred Pred, n int, apply func(context.Context, *call) error) *rule {
	r := &rule{pred: pred, left: n, apply: apply}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules = append(e.rules, r)
	return r
}

func (e *Events) remove(r *rule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules = slices.DeleteFunc(e.rules, func(other *rule) bool { return other == r })
}

// take returns the rules for an event, oldest first, and uses each up by one.
func (e *Events) take(event *Event) []*rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	var taken []*rule
	for _, r := range e.rules {
		if r.left == 0 || !r.pred(event) {
			continue
		}
		if r.left > 0 {
			r.left--
		}
		taken = append(taken, r)
	}
	return taken
}
