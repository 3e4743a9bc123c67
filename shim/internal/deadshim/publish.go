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

// deferFunc has an event published when this process has ended, however it ends, unless stop
// is called before.
type deferFunc func(*types.Envelope) (stop func(), err error)

// ackTime is how long a TaskOOM may wait for its ack before a deferred publisher stands by. An
// ack takes some milliseconds.
const ackTime = 250 * time.Millisecond

var errUnreachable = errors.New("no containerd accepts events")

// publication is a TaskOOM that containerd has not acked yet.
type publication struct {
	*delivery.Item
	queue *delivery.Queue
	stop  func() // ends the deferred publisher that stands by
}

// publish publishes the TaskOOM. It returns nil where nothing is to be awaited: containerd has
// acked the TaskOOM, or accepts no events. Without an ack a deferred publisher stands by before
// the removal begins: on a busy node containerd's 5 s may end this process within the removal.
func (r *Removal) publish(ctx context.Context) (*publication, error) {
	env, err := delivery.NewEnvelope(ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: r.ID})
	if err != nil {
		return nil, fmt.Errorf("encode TaskOOM: %w", err)
	}
	if !r.Reachable() {
		r.standBy(ctx, env, errUnreachable)
		return nil, nil
	}
	p := &publication{
		Item:  &delivery.Item{Envelope: env, Done: make(chan error, 1)},
		queue: delivery.NewQueue(ctx, r.Client, r.Count),
	}
	p.queue.Push(r.ID, p.Item)
	if err = p.acked(ackTime); err == nil {
		_ = p.queue.Close() // nothing waits there
		return nil, nil
	}
	p.stop = r.standBy(ctx, env, err)
	return p, nil
}

// await waits until containerd has the TaskOOM, within what is left of the time that
// containerd gives.
func (r *Removal) await(p *publication, begun time.Time) {
	err := p.acked(min(r.Config.HoldTimeout, timeout) - time.Since(begun))
	if err != nil {
		_ = p.queue.Close()
		err = p.acked(0) // at the last moment
	}
	if err == nil {
		p.stop()
	}
}

// acked returns nil when containerd has acked the TaskOOM within a time.
func (p *publication) acked(within time.Duration) error {
	select {
	case err := <-p.Done:
		return err
	case <-time.After(within):
	}
	select {
	case err := <-p.Done:
		return err
	default:
		return context.DeadlineExceeded
	}
}

// standBy has a deferred publisher stand by. err is why containerd has not acked the TaskOOM.
func (r *Removal) standBy(ctx context.Context, env *types.Envelope, err error) (stop func()) {
	stop, derr := r.Defer(env)
	if derr != nil {
		r.log(ctx).WithError(errors.Join(err, derr)).Error("dead shim: containerd did not ack the TaskOOM, and no deferred publisher could be started")
		return func() {}
	}
	r.log(ctx).WithError(err).Warn("dead shim: containerd did not ack the TaskOOM yet: a deferred publisher waits for it")
	return stop
}
