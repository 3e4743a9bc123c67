//go:build linux

package shim

import (
	"context"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
)

// An ack does not mean that CRI was subscribed: containerd drops an event that it
// accepts before CRI has subscribed. A containerd that starts does this, in this order:
//
//  1. it connects to each shim and asks for its Pids;
//  2. CRI subscribes, while the events endpoint begins to listen: a TaskOOM that
//     was waiting may be acked before or after;
//  3. CRI asks for each task's State, and deletes those that have stopped.
//
// So a TaskOOM counts as delivered if it was sent to a containerd that had asked for
// the task before, or that made it. Where one asks that has not received it, it is
// republished, ahead of the answer.

// subscription is what is known of the containerd instances and whether CRI is
// subscribed there. Guarded by run.mu.
type subscription struct {
	// instance of the containerd that made the container, or has asked for it since.
	instance uint64
	// unsubscribed is set when another has connected, and has not asked for it yet.
	unsubscribed bool
	// firstRequest is when another than the one that made the container asked first.
	firstRequest time.Time
	// connected is set at the first Connect, which whoever made the container sends.
	connected bool
	// reconnected is set by a Connect. It is one that begins to wait, if a Wait comes next
	// (core/runtime/v2/shim.go), and one that starts, if it goes on with Pids.
	reconnected bool
	// loading is set by the Connect of another containerd, which goes on with Pids.
	loading bool
	// recovering is set when another has connected, as recoveringInstance, and no Wait
	// of that instance has been answered.
	recovering         bool
	recoveringInstance uint64
	// ready is closed when a containerd that starts has asked for the task, or has
	// had the hold timeout for it; nil where none has started. markReady closes it.
	ready     <-chan struct{}
	markReady context.CancelFunc
}

// createdBy notes who made the container.
func (r *run) createdBy(instance uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscription = subscription{instance: instance}
}

// connected notes a Connect. It returns true where an ack does not
// count any more, since the instance to which TaskOOM was delivered may be gone.
func (r *run) connected(instance uint64) (void bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := !r.subscription.connected && instance == r.subscription.instance
	r.subscription.connected = true
	switch {
	case own:
		return false
	case instance == r.subscription.instance, r.subscription.unsubscribed && instance == r.subscription.recoveringInstance:
		// containerd connects ahead of each Wait, too. The events that wait for the
		// one that starts must not wait for it anew.
		r.subscription.reconnected = true
		return false
	}
	r.subscription.loading = true
	return r.unsubscribeLocked(instance)
}

// askedForPids notes that, and returns true as connected does. Whoever starts wants
// to know whether there is anything in the container, and not what.
func (r *run) askedForPids(instance uint64) (void, starts bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	starts = r.subscription.reconnected || r.subscription.loading
	void = r.subscription.reconnected && r.unsubscribeLocked(instance)
	r.subscription.loading = false
	return void, starts
}

// unsubscribeLocked is for a containerd that starts: CRI is not subscribed yet. It
// reports whether an ack has lost its meaning.
func (r *run) unsubscribeLocked(instance uint64) (void bool) {
	r.subscription.unsubscribed, r.subscription.reconnected = true, false
	r.subscription.recovering, r.subscription.recoveringInstance = true, instance
	ready, asked := context.WithTimeout(context.Background(), r.holdTimeout)
	r.subscription.ready, r.subscription.markReady = ready.Done(), asked
	void = r.delivered && r.oom.instance != instance
	r.delivered = r.delivered && !void
	return void
}

// requestedBy notes that a containerd asks for the task.
func (r *run) requestedBy(instance uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subscription.unsubscribed {
		r.subscription.firstRequest = time.Now()
		r.subscription.markReady()
	}
	r.subscription.instance, r.subscription.unsubscribed, r.subscription.reconnected = instance, false, false
}

// recovering notes that a containerd asks for the state, and reports whether that is
// one that recovers a container of CRI and has yet to wait for it.
func (r *run) recovering(instance uint64) bool {
	if !r.policy.waited {
		return false
	}
	r.requestedBy(instance)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subscription.recovering && time.Since(r.subscription.firstRequest) < recovery
}

// waitAnswered notes that a Wait of a containerd instance was answered.
func (r *run) waitAnswered(instance uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if instance == r.subscription.recoveringInstance {
		r.subscription.recovering = false
	}
}

// holdUntil returns the time up to which a call that came at since may be held back. A
// containerd that starts is held back once, not once on each API path: CRI gives a
// container 10 s in all to be recovered (internal/cri/server/restart.go), and
// calls it running for ever where that does not do.
func (r *run) holdUntil(since time.Time, timeout time.Duration) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.subscription.firstRequest
	if r.releasedAt.After(first) && !first.IsZero() {
		first = r.releasedAt
	}
	if !first.IsZero() && first.Before(since) {
		since = first
	}
	return since.Add(timeout)
}

// stateSince returns from when on an answer of State may be held back at this stage.
// The containerd that made the container has been, by the exit gate: a container
// whose exit Wait has returned must not seem to run.
func (r *run) stateSince(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subscription.firstRequest.IsZero() {
		return time.Time{}
	}
	return now
}

// notReady returns what is closed when the containerd that starts is subscribed, or has had
// the hold timeout for it, and nil where there is nothing to wait for.
func (r *run) notReady() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subscription.ready == nil || opened(r.subscription.ready) {
		return nil
	}
	return r.subscription.ready
}

// missedOOM reports whether a containerd has acked the TaskOOM before anyone was
// subscribed, and somebody is by now: who has asked for the task; or, where nobody
// has within the hold timeout, a client that only subscribes, as Docker does.
func (r *run) missedOOM() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.verdict.OOMKilled || r.oom == nil || !opened(r.oom.acked) || r.oom.delivered {
		return false
	}
	if r.subscription.unsubscribed {
		return !r.oom.forSubscriber && r.oom.instance == r.subscription.recoveringInstance && opened(r.subscription.ready)
	}
	return r.oom.instance == r.subscription.instance
}

// subscribedNow returns the function that reports whether what is sent from now on is
// delivered to an instance. Nothing is known where there is no run.
func (r *run) subscribedNow() func(instance uint64) bool {
	if r == nil {
		return func(uint64) bool { return false }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.subscription
	return func(instance uint64) bool { return !now.unsubscribed && now.instance == instance }
}

// Connect is a new containerd's first call for each container.
func (s *Service) Connect(ctx context.Context, req *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	if b := s.tombstone(req.ID, ""); b != nil {
		b.connected(s.queue.fwd.Instance())
		return b.connect(), nil
	}
	if r := s.run(req.ID); r != nil && r.connected(s.queue.fwd.Instance()) {
		s.checkpoint(r)
	}
	return s.TTRPCTaskService.Connect(ctx, req)
}

// requested notes that containerd asks for a container's task by an API path, and returns
// the run, or nil.
func (s *Service) requested(id, exec string) *run {
	r := s.run(id)
	if r == nil || exec != "" {
		return nil
	}
	r.requestedBy(s.queue.fwd.Instance())
	return r
}

// waitDelivered blocks until the calling containerd instance has received the TaskOOM,
// if one is due, or the hold timeout has passed since the call.
func (s *Service) waitDelivered(ctx context.Context, r *run, since time.Time) error {
	timeout := time.NewTimer(time.Until(r.holdUntil(since, s.cfg.HoldTimeout)))
	defer timeout.Stop()
	for ctx.Err() == nil { // a caller that is gone is not subscribed
		it := s.republishUndelivered(r)
		if it == nil {
			return nil
		}
		select {
		case <-it.acked:
			if r.noteAck(it) {
				s.checkpoint(r)
			}
		case <-timeout.C:
			return nil // it stays in the queue; the exit gate has logged it the first time
		case <-ctx.Done():
		}
	}
	return errgrpc.ToGRPC(ctx.Err())
}

// noteAck notes that a TaskOOM was acked, and returns true if that is news and the
// TaskOOM was delivered.
func (r *run) noteAck(it *item) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := it.delivered && it.instance == r.subscription.instance && !r.subscription.unsubscribed && !r.delivered
	r.delivered = r.delivered || news
	return news
}

// republishUndelivered returns the TaskOOM that the containerd that is there has not received yet,
// republished if it was acked before, or nil.
func (s *Service) republishUndelivered(r *run) *item {
	instance := s.queue.fwd.Instance()
	r.requestedBy(instance) // the caller is still subscribed, if the connection broke meanwhile
	r.mu.Lock()
	it, v := r.oom, r.verdict
	r.mu.Unlock()
	switch {
	case !v.OOMKilled || it == nil:
		return nil
	case !opened(it.acked):
		return it
	case it.delivered && it.instance == instance:
		return nil
	case it.forSubscriber && it.instance == instance && !r.policy.waited:
		// Published for a client that only subscribes, which asks at the TaskExit.
		s.noteReceived(r)
		return nil
	}
	log.G(s.ctx).WithFields(log.Fields{"container": r.id, "total": s.counts.add("TaskOOM republished")}).
		Info("a containerd asks that has not received the OOM: TaskOOM is republished")
	return s.republish(r, it)
}

// noteReceived notes in the record that the client which asks has received the TaskOOM, so
// that the delete action publishes no other.
func (s *Service) noteReceived(r *run) {
	r.mu.Lock()
	news := !r.delivered
	r.delivered = true
	r.mu.Unlock()
	if news {
		s.checkpoint(r)
	}
}
