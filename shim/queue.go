//go:build linux

package shim

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/log"
)

const (
	dialTimeout = 200 * time.Millisecond

	// firstRetry and lastRetry are the pauses between tries to hand an event to
	// a containerd that is not there.
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second

	// maxQueued bounds the events that wait for one container. A containerd that
	// is away for long makes them pile up by execs alone.
	maxQueued = 256
)

// item is one event on its way to containerd.
type item struct {
	env *types.Envelope
	// run is set for the events that must never be dropped: the TaskOOM, the
	// TaskExit of a container's init, and a TaskDelete that waits for that.
	run *run
	// released, if any, holds the item and all behind it until it is closed.
	released <-chan struct{}
	// acked is closed when containerd has acked the event.
	acked chan struct{}
	// instance has acked the event, and delivered is true if CRI is known to have been
	// subscribed there by then. Both are set before acked is closed.
	instance  uint64
	delivered bool
	// forSubscriber is true if it was published for a client that only subscribes: it is not
	// published for that client again.
	forSubscriber bool
	// hold waits, for a TaskExit and some TaskOOMs, until a containerd that starts
	// is subscribed, and reports whether it had to: there may be another item ahead by then.
	hold func() bool
	// wantInstance returns, for a TaskExit, the instance of the containerd that has its
	// TaskOOM, or anyInstance; and republish puts that in front of it again, where
	// another containerd instance runs now. Either both or neither is set.
	wantInstance func() uint64
	republish    func()
	// setStatus, if any, is called before the item is sent, when its gate is open.
	setStatus func()
	// sending is true if it is on the wire. Guarded by queue.mu.
	sending bool
}

// queue hands each container's events to containerd in their order and one at a
// time, and different containers' events independently of each other. It tries
// again until containerd acks an event or the queue is closed. Goroutines exist
// only while there is something to send.
type queue struct {
	fwd    Forwarder
	counts *counters
	ctx    context.Context // ends with the queue; also carries the logger
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	lines   map[string]*line
	emptied chan struct{} // closed when the last line has been emptied
}

// line is one container's events, in the order in which containerd gets them.
type line struct {
	items []*item
	// changed has a token when an item was put in: the one that the worker waits
	// for may not be the head any more.
	changed chan struct{}
}

func newQueue(ctx context.Context, fwd Forwarder, counts *counters) *queue {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	emptied := make(chan struct{})
	close(emptied)
	return &queue{
		fwd: fwd, counts: counts, ctx: ctx, cancel: cancel,
		lines: make(map[string]*line), emptied: emptied,
	}
}

// push puts an item at the end of a container's line.
func (q *queue) push(id string, it *item) {
	q.insert(id, it, func(items []*item) int { return len(items) })
}

// pushAhead puts an item ahead of the first gated one of the same run: a TaskOOM
// ahead of its TaskExit, and that ahead of its TaskDelete. Without one it goes to
// the end.
func (q *queue) pushAhead(id string, it *item) {
	q.insert(id, it, func(items []*item) int {
		at := slices.IndexFunc(items, func(other *item) bool { return other.released != nil && other.run == it.run })
		if at < 0 {
			return len(items)
		}
		return at
	})
}

func (q *queue) insert(id string, it *item, place func([]*item) int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lines[id]
	if l == nil {
		if len(q.lines) == 0 {
			q.emptied = make(chan struct{})
		}
		l = &line{changed: make(chan struct{}, 1)}
		q.lines[id] = l
		go q.work(id, l)
	}
	l.items = slices.Insert(l.items, place(l.items), it)
	q.limitLocked(id, l)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// limitLocked drops the oldest event that may be dropped when a line is too
// long: execs and the like, never a TaskOOM or an init's TaskExit.
func (q *queue) limitLocked(id string, l *line) {
	if len(l.items) <= maxQueued {
		return
	}
	at := slices.IndexFunc(l.items, func(it *item) bool { return it.run == nil && !it.sending })
	if at < 0 {
		return
	}
	log.G(q.ctx).WithFields(log.Fields{
		"container": id, "topic": l.items[at].env.Topic, "total": q.counts.add("event dropped"),
	}).Error("too many events wait for containerd: the oldest is dropped")
	l.items = slices.Delete(l.items, at, at+1)
}

// work empties one container's line and ends.
func (q *queue) work(id string, l *line) {
	for it := q.next(id, l); it != nil; it = q.next(id, l) {
		if !q.send(it) {
			continue // next knows how to go on
		}
		q.mu.Lock()
		l.items = slices.DeleteFunc(l.items, func(other *item) bool { return other == it })
		q.mu.Unlock()
		close(it.acked)
	}
}

// next waits for the head of the line to be let through its gate, and marks it
// as being sent. It returns nil, and forgets the line, when the line is empty or
// the queue is closed.
func (q *queue) next(id string, l *line) *item {
	for {
		q.mu.Lock()
		if len(l.items) == 0 || q.ctx.Err() != nil {
			q.forgetLocked(id, l)
			q.mu.Unlock()
			return nil
		}
		head := l.items[0]
		if opened(head.released) {
			head.sending = true
			q.mu.Unlock()
			return head
		}
		q.mu.Unlock()
		select {
		case <-head.released:
		case <-l.changed:
		case <-q.ctx.Done():
		}
	}
}

func opened(gate <-chan struct{}) bool {
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	default:
		return false
	}
}

// send tries until containerd has acked the item. It returns false when the queue
// was closed first, or when there is now an item ahead of this one.
func (q *queue) send(it *item) bool {
	if it.setStatus != nil {
		it.setStatus()
	}
	pause := firstRetry
	for try := 1; ; try++ {
		if it.hold != nil && it.hold() {
			return false
		}
		listening := it.run.subscribedNow() // before it is sent
		want := uint64(anyInstance)
		if it.wantInstance != nil {
			want = it.wantInstance()
		}
		instance, err := q.fwd.Forward(q.ctx, it.env, want)
		if err == nil {
			faultPoint("acked: " + it.env.Topic)
			it.instance, it.delivered = instance, listening(instance)
			return true
		}
		if q.ctx.Err() != nil {
			return false
		}
		if errors.Is(err, errOtherInstance) {
			it.republish()
			return false
		}
		total := q.counts.add("event retried")
		// Not each time: the events of a node full of containers all wait for
		// a containerd that starts, which has the lines to copy.
		if try&(try-1) == 0 {
			log.G(q.ctx).WithError(err).WithFields(log.Fields{"topic": it.env.Topic, "try": try, "total": total}).
				Warn("containerd did not ack an event: trying again")
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastRetry)
		case <-q.ctx.Done():
			return false
		}
	}
}

func (q *queue) forgetLocked(id string, l *line) {
	if len(l.items) > 0 {
		log.G(q.ctx).WithFields(log.Fields{"container": id, "events": len(l.items)}).
			Error("the shim ends with events that containerd did not ack")
	}
	delete(q.lines, id)
	if len(q.lines) == 0 {
		close(q.emptied)
	}
}

// flush waits until nothing is left to send, or ctx ends.
func (q *queue) flush(ctx context.Context) error {
	q.mu.Lock()
	emptied := q.emptied
	q.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close returns up what has not been sent and ends the connection.
func (q *queue) close() error {
	q.cancel()
	return q.fwd.Close()
}
