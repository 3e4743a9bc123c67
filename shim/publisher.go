//go:build linux

package shim

import (
	"context"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"

	"github.com/oomwitness/oomwitness/bpf"
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
		return nil // the container's loop publishes it, in order with the exit
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
	if c != nil && e.ID != e.ContainerID {
		c.execed(e.Pid, bpf.BootNow(), true)
	}
	if c == nil || e.ID != e.ContainerID || !c.mayBeInit(int(e.Pid)) {
		return p.push(ctx, topic, e.ContainerID, e)
	}
	c.exited(oom.Exit{Pid: int(e.Pid), Status: int(e.ExitStatus), At: e.ExitedAt.AsTime()})
	c.loop.Do((*exit.State).ExitPublished)
	return nil
}

func (p *publisher) push(ctx context.Context, topic, id string, event events.Event) error {
	env, err := delivery.NewEnvelope(ctx, topic, event)
	if err != nil {
		return err
	}
	p.s.queue.Push(id, &delivery.Item{Envelope: env, Droppable: true})
	return nil
}
