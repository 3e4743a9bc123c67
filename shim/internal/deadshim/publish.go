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

// publish begins to publish the TaskOOM. Where no containerd accepts events, a deferred
// publisher has the TaskOOM at once: on a busy node containerd's 5 s may end this process
// before the removal is done. Then publish returns nil.
func (r *Removal) publish(ctx context.Context) (*publication, error) {
	env, err := delivery.NewEnvelope(ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: r.ID})
	if err != nil {
		return nil, fmt.Errorf("encode TaskOOM: %w", err)
	}
	if !r.Reachable() {
		r.handOver(ctx, env, errUnreachable)
		return nil, nil
	}
	p := &publication{
		Item:  &delivery.Item{Envelope: env, Done: make(chan error, 1)},
		queue: delivery.NewQueue(ctx, r.Client, r.Count),
	}
	p.queue.Push(r.ID, p.Item)
	return p, nil
}

var errUnreachable = errors.New("no containerd accepts events")

// await waits until containerd has the TaskOOM, within what is left of the time that
// containerd gives.
func (r *Removal) await(ctx context.Context, p *publication, begun time.Time) {
	var err error
	select {
	case err = <-p.Done:
	case <-time.After(min(r.Config.HoldTimeout, timeout) - time.Since(begun)):
		err = context.DeadlineExceeded
	}
	_ = p.queue.Close()
	select {
	case err = <-p.Done: // at the last moment
	default:
	}
	if err != nil {
		r.handOver(ctx, p.Envelope, err)
	}
}

// handOver leaves the TaskOOM to a deferred publisher. err is why containerd has not acked
// the TaskOOM.
func (r *Removal) handOver(ctx context.Context, env *types.Envelope, err error) {
	if derr := r.Defer(env); derr != nil {
		r.log(ctx).WithError(errors.Join(err, derr)).Error("dead shim: containerd did not ack the TaskOOM, and no deferred publisher could be started")
		return
	}
	r.log(ctx).WithError(err).Warn("dead shim: containerd did not ack the TaskOOM yet: a deferred publisher waits for it")
}
