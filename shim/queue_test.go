//go:build linux

package shim

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/stretchr/testify/require"
)

// What piles up while containerd is away is bounded, and what must not be lost
// is not.
func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := make(chan struct{})
		b := newBench(t, func(b *bench, _ *Options) {
			b.events.hold = func(string, string) <-chan struct{} { return away }
		})
		b.create(t, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		for i := range 3 * maxQueued {
			require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskExecAddedEventTopic,
				&eventsapi.TaskExecAdded{ContainerID: "c", ExecID: fmt.Sprint(i)}))
		}
		time.Sleep(time.Minute)
		b.queue.mu.Lock()
		require.Len(t, b.queue.lines["c"].items, maxQueued)
		b.queue.mu.Unlock()
		require.NotZero(t, b.counts.of("event dropped"))
		close(away)
		synctest.Wait()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all()[:2])
		require.Len(t, b.events.all(), maxQueued)
	})
}

// A queue with nothing to send holds no goroutine and no memory.
func TestTheQueueIsEmptyAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for i := range 100 {
			id := fmt.Sprint("c", i)
			b.create(t, id)
			b.task.exit(t, id, 0)
			_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: id})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Empty(t, b.queue.lines)
		require.NoError(t, b.queue.flush(context.Background()))
		require.Empty(t, b.runs)
		require.Empty(t, b.owed)
	})
}
