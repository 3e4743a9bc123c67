//go:build linux

package shim

import (
	"context"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"github.com/containerd/log"
	"github.com/containerd/typeurl/v2"

	"github.com/oomwitness/oomwitness/oom"
)

// publisher is what upstream's service publishes to. It never blocks, since
// upstream calls it from one goroutine for all the containers of a pod, and its
// OOM watchers call it concurrently.
type publisher struct{ s *Service }

// Publish implements events.Publisher. An error means that the event can't be
// encoded; delivery is the queue's business.
func (p *publisher) Publish(ctx context.Context, topic string, event events.Event) error {
	switch e := event.(type) {
	case *eventsapi.TaskOOM:
		// Upstream publishes at any kill, whatever becomes of the container, and
		// on cgroup v1 at kills of others. The event is an OOM notification: the shim collects the evidence.
		p.s.notified(e.ContainerID)
		return nil
	case *eventsapi.TaskExit:
		return p.exit(ctx, topic, e)
	case *eventsapi.TaskDelete:
		r := p.s.creditor(e.ContainerID)
		if r == nil {
			return p.push(ctx, topic, e.ContainerID, e)
		}
		defer p.s.pay(r)
		return p.delete(ctx, topic, e, r)
	case interface{ GetContainerID() string }:
		return p.push(ctx, topic, e.GetContainerID(), event)
	default:
		return p.push(ctx, topic, "", event)
	}
}

// Close implements io.Closer. Upstream calls it at the shim's end.
func (p *publisher) Close() error { return p.s.queue.close() }

// exit puts an init's TaskExit behind the exit gate. An exec's passes.
func (p *publisher) exit(ctx context.Context, topic string, e *eventsapi.TaskExit) error {
	r := p.s.run(e.ContainerID)
	if r == nil || e.ID != e.ContainerID || !r.mayBeInit(int(e.Pid)) {
		return p.push(ctx, topic, e.ContainerID, e)
	}
	p.s.settle(r, oom.Exit{Pid: int(e.Pid), Status: int(e.ExitStatus), At: e.ExitedAt.AsTime()})
	e.ExitedAt = r.endedAt(e.ExitedAt)
	env, err := envelope(ctx, topic, e)
	if err != nil {
		return err
	}
	p.s.queue.pushAhead(r.id, &item{
		env: env, run: r, released: r.released, acked: r.exitAcked,
		hold:         func() bool { return p.s.holdExit(r) },
		wantInstance: r.instanceOfOOM, republish: func() { p.s.republishForExit(r) },
		setStatus: setsStatus(r, env, e, &e.ExitStatus),
	})
	return nil
}

// holdExit waits until a containerd that starts is subscribed, or the hold timeout has
// passed. What that containerd acked before is lost: a TaskOOM is republished, ahead of
// the TaskExit. It returns false where the TaskExit may go.
func (s *Service) holdExit(r *run) bool {
	ready := r.notReady()
	if ready != nil {
		select {
		case <-ready:
		case <-s.queue.ctx.Done():
		}
	}
	missed := r.missedOOM()
	if missed {
		s.republishForExit(r)
	}
	return ready != nil || missed
}

// delete puts a TaskDelete behind the TaskExit. Upstream carries out a delete as
// soon as it has noted the exit, and may publish it before the exit itself.
func (p *publisher) delete(ctx context.Context, topic string, e *eventsapi.TaskDelete, r *run) error {
	ended := r.exited() || !e.ExitedAt.AsTime().IsZero()
	if !ended {
		return p.push(ctx, topic, e.ContainerID, e)
	}
	e.ExitedAt = r.endedAt(e.ExitedAt)
	if opened(r.exitAcked) {
		e.ExitStatus = r.reportStatus(e.ExitStatus)
		return p.push(ctx, topic, e.ContainerID, e)
	}
	env, err := envelope(ctx, topic, e)
	if err != nil {
		return err
	}
	gate := make(chan struct{})
	go func() {
		defer close(gate)
		select {
		case <-r.exitAcked:
		case <-time.After(p.s.cfg.HoldTimeout): // upstream never published it
		}
	}()
	p.s.queue.push(r.id, &item{
		env: env, run: r, released: gate, acked: make(chan struct{}), setStatus: setsStatus(r, env, e, &e.ExitStatus),
	})
	return nil
}

// setsStatus returns the function that puts the reported status into an event of an
// exit, once that is certain; nil where it is the true one anyway.
func setsStatus(r *run, env *types.Envelope, event events.Event, status *uint32) func() {
	if r.policy.exitCode == 0 {
		return nil
	}
	return func() {
		*status = r.reportStatus(*status)
		if body, err := typeurl.MarshalAnyToProto(event); err == nil { // as it was when env was made
			env.Event = body
		}
	}
}

func (p *publisher) push(ctx context.Context, topic, id string, event events.Event) error {
	env, err := envelope(ctx, topic, event)
	if err != nil {
		return err
	}
	p.s.queue.push(id, &item{env: env, acked: make(chan struct{})})
	return nil
}

// announce publishes TaskOOM for a run, ahead of its TaskExit, unless the kills
// so far have been announced or an earlier TaskOOM is still waiting to be sent.
// It returns nil if it can't be encoded.
func (s *Service) announce(r *run, kills uint64) *item {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.announceLocked(r, kills)
}

func (s *Service) announceLocked(r *run, kills uint64) *item {
	if r.oom != nil && (kills <= r.reportedKills || !opened(r.oom.acked)) {
		r.reportedKills = max(r.reportedKills, kills)
		return r.oom
	}
	r.reportedKills = kills
	return s.publishLocked(r)
}

// announceExit publishes TaskOOM for an OOM verdict: also where one that came before
// the exit was acked by an earlier containerd, or by one that was not subscribed yet and
// has asked for the task since. One that has yet to ask gets it then.
func (s *Service) announceExit(r *run, kills uint64) *item {
	instance := s.queue.fwd.Instance()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oom != nil && opened(r.oom.acked) {
		asked := r.subscription.instance == instance && !r.subscription.unsubscribed
		if r.oom.instance != instance || asked && !r.oom.delivered {
			return s.publishLocked(r)
		}
	}
	return s.announceLocked(r, kills)
}

// republishForExit republishes the TaskOOM of an exit for another containerd instance,
// before that instance receives the TaskExit.
func (s *Service) republishForExit(r *run) {
	r.mu.Lock()
	old := r.oom
	r.mu.Unlock()
	log.G(s.ctx).WithFields(log.Fields{"container": r.id, "total": s.counts.add("TaskOOM republished")}).
		Info("the containerd that gets the TaskExit has not received the TaskOOM: republished")
	s.republish(r, old)
}

// instanceOfOOM returns the instance of the containerd that has acked the TaskOOM of an
// OOM verdict, anyInstance where there is none.
func (r *run) instanceOfOOM() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.verdict.OOMKilled || r.oom == nil || !opened(r.oom.acked) {
		return anyInstance
	}
	return r.oom.instance
}

// republish publishes another TaskOOM, unless somebody else has since old.
func (s *Service) republish(r *run, old *item) *item {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.oom != old {
		return r.oom
	}
	return s.publishLocked(r)
}

func (s *Service) publishLocked(r *run) *item {
	env, err := envelope(s.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: r.id})
	if err != nil {
		s.trouble(r, "TaskOOM not encoded", err)
		return nil
	}
	r.delivered = false
	late := r.subscription.unsubscribed && opened(r.subscription.ready)
	it := &item{env: env, run: r, acked: make(chan struct{}), forSubscriber: late}
	if !r.policy.waited {
		it.hold = func() bool { return s.holdOOM(r, it) }
	}
	r.oom = it
	s.queue.pushAhead(r.id, it)
	return it
}

// holdOOM holds the TaskOOM of a container that CRI does not wait for, until somebody
// asks the containerd that starts for the task, or the hold timeout has passed. A
// client that only subscribes has subscribed by then, and gets the TaskOOM once.
// holdOOM reports whether the TaskOOM was held: false means that it may go.
func (s *Service) holdOOM(r *run, it *item) bool {
	ready := r.notReady()
	if ready == nil {
		return false
	}
	select {
	case <-ready:
	case <-s.queue.ctx.Done():
	}
	r.mu.Lock()
	it.forSubscriber = r.subscription.unsubscribed
	r.mu.Unlock()
	return true
}

// envelope encodes an event with the time of its happening, which is now: a
// containerd that is away may receive it much later.
func envelope(ctx context.Context, topic string, event events.Event) (*types.Envelope, error) {
	ns, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return nil, err
	}
	body, err := typeurl.MarshalAnyToProto(event)
	if err != nil {
		return nil, err
	}
	return &types.Envelope{
		Timestamp: protobuf.ToTimestamp(time.Now()),
		Namespace: ns,
		Topic:     topic,
		Event:     body,
	}, nil
}
