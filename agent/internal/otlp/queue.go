package otlp

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	sdk "go.opentelemetry.io/otel/sdk/log"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
)

const (
	// MaxWaiting is how many records wait for the collector, beside those of one request.
	MaxWaiting = 1024
	// maxBatch is how many records a request has.
	maxBatch = 128
	// closeFor is how long the agent's end waits for the collector.
	closeFor = 3 * time.Second
)

// queue is the SDK's Processor: it has room for each owner, which the SDK's own batches do
// not have. A flood of one owner's records costs that owner's oldest.
type queue struct {
	sender sender
	count  func(deliver.Stage, deliver.Reason, int)
	log    logrus.FieldLogger

	wake chan struct{} // has one, if a record waits that the sending goroutine may not know of
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex // guards what follows
	waiting []*item    // oldest first
	room    events.Room
	full    bool // a record was dropped since the queue was empty
}

type item struct {
	record sdk.Record
	owner  events.Owner
}

var _ sdk.Processor = (*queue)(nil)

func newQueue(exporter sdk.Exporter, count func(deliver.Stage, deliver.Reason, int), log logrus.FieldLogger) *queue {
	return &queue{
		sender: sender{exporter: exporter, count: count, log: log},
		count:  count, log: log, wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

type ownerKey struct{}

// ofOwner returns a context that says whose a record is: the SDK passes it to OnEmit.
func ofOwner(o events.Owner) context.Context {
	return context.WithValue(context.Background(), ownerKey{}, o)
}

// Enabled reports that every record is taken.
func (q *queue) Enabled(context.Context, sdk.EnabledParameters) bool { return true }

// OnEmit queues a copy of a record. It does not wait for the collector.
func (q *queue) OnEmit(ctx context.Context, r *sdk.Record) error {
	owner, _ := ctx.Value(ownerKey{}).(events.Owner)
	q.mu.Lock()
	q.waiting = append(q.waiting, &item{r.Clone(), owner})
	q.room.Add(owner, 1)
	first := false
	if len(q.waiting) > MaxWaiting {
		i := q.room.Drop(len(q.waiting), func(i int) events.Owner { return q.waiting[i].owner })
		q.room.Add(q.waiting[i].owner, -1)
		q.waiting = slices.Delete(q.waiting, i, i+1)
		first, q.full = !q.full, true
		q.count(deliver.Skipped, deliver.QueueFull, 1)
	}
	q.mu.Unlock()
	if first {
		q.log.Warn("OpenTelemetry: queue full: the oldest records of the owner with the most are dropped")
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// Shutdown and ForceFlush have nothing to do: close sends what waits.
func (q *queue) Shutdown(context.Context) error   { return nil }
func (q *queue) ForceFlush(context.Context) error { return nil }

// take removes the oldest records from the queue, maxBatch at most.
func (q *queue) take() []sdk.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	batch := make([]sdk.Record, 0, n)
	for _, it := range q.waiting[:n] {
		batch = append(batch, it.record)
		q.room.Add(it.owner, -1)
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.full = q.full && len(q.waiting) > 0
	return batch
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// start has a goroutine send what is queued, until close.
func (q *queue) start() {
	ctx, stop := context.WithCancel(context.Background())
	sending, abort := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { time.AfterFunc(closeFor, abort) })
	q.stop = stop
	go func() {
		defer close(q.done)
		defer abort()
		for ended := false; !ended; {
			select {
			case <-q.wake:
			case <-ctx.Done():
				ended = true
			}
			for batch := q.take(); len(batch) > 0; batch = q.take() {
				q.sender.send(sending, batch)
			}
		}
	}()
}

func (q *queue) close() {
	q.stop()
	<-q.done
}
