package otlp

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// export is the answer of a collector.
type export func(ctx context.Context, batch []sdk.Record) error

// hung never answers.
func hung(ctx context.Context, _ []sdk.Record) error {
	<-ctx.Done()
	return &url.Error{Op: "Post", URL: "http://c", Err: ctx.Err()}
}

// bench is a queue whose exporter has a collector that answers as a test says.
type bench struct {
	*queue

	mu     sync.Mutex // guards what follows
	answer export
	tries  int
	got    []string // names of the records that the collector took
	counts map[deliver.Reason]int
}

func newBench(answer export) *bench {
	b := &bench{answer: answer, counts: map[deliver.Reason]int{}}
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	b.queue = newQueue(b, func(_ deliver.Stage, reason deliver.Reason, n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.counts[reason] += n
	}, quiet)
	return b
}

// Export asks the collector.
func (b *bench) Export(ctx context.Context, batch []sdk.Record) error {
	b.mu.Lock()
	answer := b.answer
	b.tries++
	b.mu.Unlock()
	err := answer(ctx, batch)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		if err == nil {
			b.got = append(b.got, batch[i].EventName())
		}
	}
	return err
}

func (*bench) Shutdown(context.Context) error   { return nil }
func (*bench) ForceFlush(context.Context) error { return nil }

// from has the collector answer otherwise from now on.
func (b *bench) from(answer export) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer, b.tries = answer, 0
}

// seen returns what there is at the moment.
func (b *bench) seen() (tries int, got []string, counts map[deliver.Reason]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tries, slices.Clone(b.got), maps.Clone(b.counts)
}

func (b *bench) emit(namespace, pod string, n int) {
	logger := sdk.NewLoggerProvider(sdk.WithProcessor(b.queue)).Logger("test")
	for i := range n {
		var r log.Record
		r.SetEventName(pod + "-" + strconv.Itoa(i))
		logger.Emit(ofOwner(events.Owner{Group: namespace, Name: pod}), r)
	}
}

// TestFlood: nobody waits for a collector that does not answer, a flood costs its owner
// alone, and what is lost is counted.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(hung)
		b.start()
		before := time.Now()
		b.emit("first", "taken", maxBatch)
		synctest.Wait() // all of it is on its way, or waits
		b.emit("quiet", "web", 10)
		b.emit("loud", "bomb", 5000)
		require.Equal(t, before, time.Now(), "nobody has waited")
		require.Equal(t, MaxWaiting, b.len())
		_, _, counts := b.seen()
		lost := counts[deliver.QueueFull]
		require.InDelta(t, 5010-MaxWaiting, lost, maxBatch)

		b.from(took)
		time.Sleep(sendFor) // of the bubble's clock
		synctest.Wait()
		require.Zero(t, b.len())
		b.close()
		_, got, counts := b.seen()
		require.Subset(t, got, []string{"web-0", "web-9", "bomb-4999"})
		require.NotContains(t, got, "bomb-0")
		require.Equal(t, map[deliver.Reason]int{deliver.QueueFull: lost, deliver.None: maxBatch + 5010 - lost}, counts)
	})
}

// took is a collector that takes everything.
func took(context.Context, []sdk.Record) error { return nil }

// TestEnd: the agent's end takes closeFor at most, and every record is accounted for.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(hung)
		b.start()
		b.emit("a", "b", 300)
		synctest.Wait()
		before := time.Now()
		b.close()
		require.LessOrEqual(t, time.Since(before), closeFor)
		_, _, counts := b.seen()
		require.Equal(t, map[deliver.Reason]int{deliver.Unavailable: 300}, counts)

		b = newBench(took)
		b.emit("a", "b", 300)
		b.start()
		before = time.Now()
		b.close()
		require.Zero(t, time.Since(before), "a collector that answers is not waited for")
		_, _, counts = b.seen()
		require.Equal(t, map[deliver.Reason]int{deliver.None: 300}, counts)
	})
}

// TestSendFor: a batch is tried for sendFor and no longer, and one that is refused once.
func TestSendFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(func(context.Context, []sdk.Record) error {
			return &url.Error{Op: "Post", URL: "http://c", Err: errors.New("connection refused")}
		})
		b.start()
		b.emit("a", "b", 1)
		time.Sleep(sendFor - maxPause)
		synctest.Wait()
		tries, _, counts := b.seen()
		require.Greater(t, tries, int(sendFor/maxPause)/2)
		require.Empty(t, counts)
		time.Sleep(maxPause)
		synctest.Wait()
		_, _, counts = b.seen()
		require.Equal(t, map[deliver.Reason]int{deliver.Unavailable: 1}, counts)

		b.from(func(context.Context, []sdk.Record) error { return errors.New("400") })
		b.emit("a", "b", 2)
		b.close()
		tries, _, counts = b.seen()
		require.LessOrEqual(t, tries, 2)
		require.Equal(t, 2, counts[deliver.Refused])
	})
}
