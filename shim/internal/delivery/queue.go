//go:build linux

// Package delivery hands events to containerd: each container's events in their
// order, over one ttrpc connection. It knows no container, and calls nobody back.
package delivery

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
	// firstRetry is the first pause between tries to hand an event to a containerd that
	// is not there.
	firstRetry = 10 * time.Millisecond
	// LastRetry is the longest pause.
	LastRetry = time.Second

	// MaxQueued limits the events that wait for one container. While containerd is away
	// for long, execs alone make them pile up.
	MaxQueued = 256
)

// Item is one event on its way to containerd.
type Item struct {
	Envelope *types.Envelope
	// To is the instance that the event is for.
	To Instance
	// Droppable says that the event may be dropped when too many wait.
	Droppable bool
	// Done, if not nil, gets the end of the item, once: nil when containerd has acked
	// the event, [ErrOtherInstance], or the end of the queue. Whoever makes the channel
	// leaves room for one value.
	Done chan error

	// onWire says that the event is being sent, and withdrawn that nobody wants it sent
	// any more. Guarded by Queue.mu.
	onWire, withdrawn bool
}

// Queue hands each line's events to containerd in their order and one at a time, and
// different lines' events independently of each other. It tries again until containerd
// acks an event, another instance runs than the event is for, or the queue is closed.
// Goroutines exist only while there is something to send. Its methods may be called
// concurrently.
type Queue struct {
	client Client
	count  func(what string) (total uint64)
	ctx    context.Context // ends with the queue; also carries the logger
	cancel context.CancelFunc

	mu    sync.Mutex // guards what follows
	lines map[string][]*Item
	empty chan struct{} // closed while there are no lines
}

// NewQueue returns a queue to client, which Close closes. ctx carries the logger; its
// end does not end the queue. count counts an occurrence by its name.
func NewQueue(ctx context.Context, client Client, count func(string) uint64) *Queue {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	empty := make(chan struct{})
	close(empty)
	return &Queue{
		client: client, count: count, ctx: ctx, cancel: cancel,
		lines: make(map[string][]*Item), empty: empty,
	}
}

// Instance returns the current containerd instance.
func (q *Queue) Instance() Instance { return q.client.Instance() }

// Push puts an item at the end of a container's line.
func (q *Queue) Push(container string, it *Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	line, working := q.lines[container]
	if len(q.lines) == 0 {
		q.empty = make(chan struct{})
	}
	q.lines[container] = q.limit(container, append(line, it))
	if !working {
		go q.work(container)
	}
}

// limit drops the oldest event that may be dropped when a line is too long.
func (q *Queue) limit(container string, line []*Item) []*Item {
	at := slices.IndexFunc(line, func(it *Item) bool { return it.Droppable && !it.onWire })
	if len(line) <= MaxQueued || at < 0 {
		return line
	}
	log.G(q.ctx).WithFields(log.Fields{
		"container": container, "topic": line[at].Envelope.Topic, "total": q.count("event dropped"),
	}).Error("too many events wait for containerd: the oldest is dropped")
	line[at].withdrawn = true
	return slices.Delete(line, at, at+1)
}

// Withdraw takes an item out of a container's line, and reports whether it did: not
// when the event is being sent, or was. An item that was taken out has no end.
func (q *Queue) Withdraw(container string, it *Item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := q.lines[container]
	at := slices.Index(line, it)
	if at < 0 || it.onWire || it.withdrawn {
		return false
	}
	it.withdrawn = true
	if at > 0 { // the worker sees to the head
		q.lines[container] = slices.Delete(line, at, at+1)
	}
	return true
}

// work empties one line and ends.
func (q *Queue) work(container string) {
	for it := q.next(container, nil); it != nil; it = q.next(container, it) {
		if err := q.send(it); it.Done != nil && !errors.Is(err, errWithdrawn) {
			it.Done <- err
		}
	}
}

// next removes the item that is done with, and returns the head of the line. It
// returns nil, and forgets the line, when the line is empty or the queue is closed.
func (q *Queue) next(container string, done *Item) *Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	line := slices.DeleteFunc(q.lines[container], func(it *Item) bool { return it == done })
	q.lines[container] = line
	if len(line) > 0 && q.ctx.Err() == nil {
		return line[0]
	}
	if len(line) > 0 {
		log.G(q.ctx).WithFields(log.Fields{"container": container, "events": len(line)}).
			Error("the shim ends with events that containerd did not ack")
	}
	delete(q.lines, container)
	if len(q.lines) == 0 {
		close(q.empty)
	}
	return nil
}

var errWithdrawn = errors.New("the event was withdrawn")

// take notes whether an item is being sent, and reports whether it may be.
func (q *Queue) take(it *Item, onWire bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	it.onWire = onWire && !it.withdrawn
	return !it.withdrawn
}

// send tries until the item's end.
func (q *Queue) send(it *Item) error {
	pause := firstRetry
	for try := 1; ; try++ {
		if !q.take(it, true) {
			return errWithdrawn
		}
		err := q.client.Forward(q.ctx, it.Envelope, it.To)
		if err == nil || errors.Is(err, ErrOtherInstance) {
			return err
		}
		if q.ctx.Err() != nil {
			return q.ctx.Err()
		}
		q.take(it, false)
		total := q.count("event retried")
		// Not each time: the events of a node full of containers all wait for a
		// containerd that starts, which has the lines to copy.
		if try&(try-1) == 0 {
			log.G(q.ctx).WithError(err).WithFields(log.Fields{"topic": it.Envelope.Topic, "try": try, "total": total}).
				Warn("containerd did not ack an event: trying again")
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, LastRetry)
		case <-q.ctx.Done():
			return q.ctx.Err()
		}
	}
}

// Flush waits until nothing is left to send, or ctx ends.
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	empty := q.empty
	q.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close drops the events that have not been acked, and ends the connection.
func (q *Queue) Close() error {
	q.cancel()
	return q.client.Close()
}
