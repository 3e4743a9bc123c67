//go:build linux

package shim

import (
	"context"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/core/events"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// publisher is what upstream's service publishes to. It never waits for containerd,
// since upstream calls it from one goroutine for all the containers of a pod, and its OOM
// watchers call it concurrently.
type publisher struct{ s *Service }

// Publish implements events.Publisher. An error means that the event can't be encoded;
// delivery is the queue's business.
func (p *publisher) Publish(ctx context.Context, topic string, event events.Event) error {
	switch e := event.(type) {
	case *eventsapi.TaskOOM:
		// Upstream publishes at any kill, whatever becomes of the container, and on cgroup
		// v1 at kills of others. The event is an OOM notification: the shim collects the
		// evidence.
		p.s.notified(e.ContainerID)
		return nil
	case *eventsapi.TaskExit:
		return p.exit(ctx, topic, e)
	case *eventsapi.TaskDelete:
		return p.delete(ctx, topic, e)
	case interface{ GetContainerID() string }:
		return p.push(ctx, topic, e.GetContainerID(), event)
	default:
		return p.push(ctx, topic, "", event)
	}
}

// Close implements io.Closer. Upstream calls it at the shim's end.
func (p *publisher) Close() error { return p.s.queue.Close() }

// exit leaves an init's TaskExit to the container's loop. An exec's passes.
func (p *publisher) exit(ctx context.Context, topic string, e *eventsapi.TaskExit) error {
	c := p.s.container(e.ContainerID)
	if c == nil || e.ID != e.ContainerID || !c.mayBeInit(int(e.Pid)) {
		return p.push(ctx, topic, e.ContainerID, e)
	}
	c.exited(oom.Exit{Pid: int(e.Pid), Status: int(e.ExitStatus), At: e.ExitedAt.AsTime()})
	e.ExitedAt = c.endedAt(e.ExitedAt)
	made := c.ending(ctx, topic, e, &e.ExitStatus)
	c.mu.Lock()
	c.taskExit = made
	c.mu.Unlock()
	c.loop.Do((*exit.State).ExitPublished)
	return nil
}

// delete leaves a TaskDelete to the container's loop, which has it wait for the
// TaskExit: upstream carries out a delete as soon as it has noted the exit, and may
// publish the TaskDelete before the TaskExit.
func (p *publisher) delete(ctx context.Context, topic string, e *eventsapi.TaskDelete) error {
	c := p.s.deleting(e.ContainerID)
	if c == nil {
		return p.push(ctx, topic, e.ContainerID, e)
	}
	defer p.s.pay(c)
	if at := e.ExitedAt.AsTime(); !at.IsZero() {
		c.exited(oom.Exit{Pid: int(e.Pid), Status: int(e.ExitStatus), At: at})
	}
	e.ExitedAt = c.endedAt(e.ExitedAt)
	made := c.ending(ctx, topic, e, &e.ExitStatus)
	c.mu.Lock()
	c.taskDelete = made
	c.mu.Unlock()
	c.loop.Do((*exit.State).DeletePublished)
	return nil
}

// ending returns what makes the envelope of an event that has happened now. status is in
// the event: the reported status takes its place when the event is sent.
func (c *container) ending(ctx context.Context, topic string, event events.Event, status *uint32) ending {
	now := time.Now()
	return func(oomStatus bool) (*types.Envelope, error) {
		*status = c.status(*status, oomStatus)
		return delivery.NewEnvelope(ctx, topic, event, now)
	}
}

func (p *publisher) push(ctx context.Context, topic, id string, event events.Event) error {
	env, err := delivery.NewEnvelope(ctx, topic, event, time.Now())
	if err != nil {
		return err
	}
	p.s.queue.Push(id, &delivery.Item{Envelope: env, Droppable: true})
	return nil
}
