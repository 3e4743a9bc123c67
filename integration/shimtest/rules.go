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

// rule changes how the endpoint answers the calls that pred selects. All rules that select a
// call apply to it, until one returns an error.
type rule struct {
	pred Pred
	left int // further calls to which the rule applies; negative: all; guarded by Events.mu
	// apply returns nil if the event may be accepted. accept accepts the event before apply
	// returns.
	apply func(ctx context.Context, call *call) error
}

// call is a call to the endpoint that is being answered.
type call struct {
	event  *Event
	accept func()
	close  func() // closes the connection of the call
}

// Hold leaves every call that pred selects unanswered, until release is called or the caller
// gives up. A released call is accepted.
func (e *Events) Hold(pred Pred) (release func()) {
	released := make(chan struct{})
	r := e.add(pred, -1, func(ctx context.Context, _ *call) error {
		select {
		case <-released:
			return ctx.Err() // an event whose caller has given up is not accepted
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sync.OnceFunc(func() {
		e.remove(r)
		close(released)
	})
}

// Fail answers the next n calls that pred selects with err; a negative n means all calls. stop
// ends the failure early.
func (e *Events) Fail(pred Pred, err error, n int) (stop func()) {
	r := e.add(pred, n, func(context.Context, *call) error { return err })
	return func() { e.remove(r) }
}

// Delay accepts each call that pred selects after d. stop ends the delay for later calls.
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

// LoseAnswer accepts the next n events that pred selects and then closes the connection: the
// shim does not learn of the acceptance.
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

// take returns the rules for an event, oldest first, and counts one use of each.
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
