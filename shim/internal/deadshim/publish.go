//go:build linux

package deadshim

import (
	"context"
	"errors"
	"fmt"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/runtime"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// deferFunc has an event published after this process has ended.
type deferFunc func(*types.Envelope) error

// publication is a TaskOOM on its way to containerd.
type publication struct {
	*delivery.Item
	queue *delivery.Queue
}

// publish begins to publish the TaskOOM.
func (r *Removal) publish(ctx context.Context) (*publication, error) {
	env, err := delivery.NewEnvelope(ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: r.ID})
	if err != nil {
		return nil, fmt.Errorf("encode TaskOOM: %w", err)
	}
	p := &publication{
		Item:  &delivery.Item{Envelope: env, Done: make(chan error, 1)},
		queue: delivery.NewQueue(ctx, r.Client, r.Count),
	}
	p.queue.Push(r.ID, p.Item)
	return p, nil
}

// await waits until containerd has the TaskOOM, within what is left of the time that
// containerd gives. A containerd that is starting accepts no event before this process
// has ended.
func (r *Removal) await(ctx context.Context, p *publication, begun time.Time) {
	left := time.Duration(0)
	if r.Reachable() {
		left = min(r.Config.HoldTimeout, timeout) - time.Since(begun)
	}
	var err error
	select {
	case err = <-p.Done:
	case <-time.After(left):
		err = context.DeadlineExceeded
	}
	_ = p.queue.Close()
	select {
	case err = <-p.Done: // at the last moment
	default:
	}
	if err == nil {
		return
	}
	if derr := r.Defer(p.Envelope); derr != nil {
		r.log(ctx).WithError(errors.Join(err, derr)).Error("dead shim: containerd did not ack the TaskOOM, and no deferred publisher could be started")
		return
	}
	r.log(ctx).WithError(err).Warn("dead shim: containerd did not ack the TaskOOM yet: a deferred publisher waits for it")
}
