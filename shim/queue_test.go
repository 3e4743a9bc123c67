//go:build linux

package shim

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
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
		for i := range 3 * delivery.MaxQueued {
			require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskExecAddedEventTopic,
				&eventsapi.TaskExecAdded{ContainerID: "c", ExecID: fmt.Sprint(i)}))
		}
		time.Sleep(time.Minute)
		require.NotZero(t, b.counts.of("event dropped"))
		close(away)
		settle()
		all := b.events.all()
		require.LessOrEqual(t, len(all), delivery.MaxQueued+1)
		oom, exit := slices.Index(all, "/tasks/oom c"), slices.Index(all, "/tasks/exit c")
		require.GreaterOrEqual(t, oom, 0)
		require.Greater(t, exit, oom)
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
		settle()
		require.NoError(t, b.queue.Flush(context.Background()))
		require.Len(t, b.containers, 100, "whose bundles are still there")
	})
}
