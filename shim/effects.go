//go:build linux

package shim

import (
	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// effects carries out what a container's State asks for: exit.Effects.
type effects struct{ c *container }

func (e effects) Instance() exit.Instance { return e.c.s.instance() }

// Send hands an event to delivery.
func (e effects) Send(event exit.Event, to exit.Instance, oomStatus bool) <-chan error {
	c := e.c
	done := make(chan error, 1)
	what := c.event(event, oomStatus)
	env, err := delivery.NewEnvelope(c.s.ctx, runtime.GetTopic(what), what)
	if err != nil {
		c.trouble("event not encoded", err)
		done <- nil // nobody can send it
		return done
	}
	item := &delivery.Item{Envelope: env, To: delivery.Instance(to), Done: done}
	if event == exit.TaskDelete {
		item.To = delivery.AnyInstance
	}
	c.sending = item
	c.s.queue.Push(c.id, item)
	return done
}

// Withdraw takes the event under way back.
func (e effects) Withdraw() bool { return e.c.s.queue.Withdraw(e.c.id, e.c.sending) }

// event returns the event to send, with what the calls answer that show the exit.
func (c *container) event(event exit.Event, oomStatus bool) events.Event {
	switch event {
	case exit.TaskExit:
		e := c.exitKnown()
		_, at := c.ended(oomStatus)
		return &eventsapi.TaskExit{
			ContainerID: c.id, ID: c.id, Pid: uint32(e.Pid),
			ExitStatus: c.status(uint32(e.Status), oomStatus), ExitedAt: at, // none before a Start, as upstream's
		}
	case exit.TaskDelete:
		removed := c.removedAnswer(oomStatus)
		return &eventsapi.TaskDelete{ContainerID: c.id, Pid: removed.Pid, ExitStatus: removed.ExitStatus, ExitedAt: removed.ExitedAt}
	default:
		return &eventsapi.TaskOOM{ContainerID: c.id}
	}
}

// Checkpoint writes the record in the background: a disk may hang.
func (e effects) Checkpoint(r exit.Record, done func()) {
	go func() {
		defer done()
		if e.c.deleted.Load() { // the bundle is being removed
			return
		}
		if err := e.c.recorder.Write(e.c.record(r)); err != nil {
			e.c.trouble("record not written", err)
		}
		if r.Decided {
			e.c.reach("recorded")
		}
	}()
}

// record returns what a checkpoint is to say now.
func (c *container) record(state exit.Record) bundle.Record {
	c.mu.Lock()
	checkpointers := c.checkpointers
	c.mu.Unlock()
	for name, p := range checkpointers { // one that is being read stays as it was
		if checkpointed, err := p.Checkpoint(); err == nil {
			c.checkpoints[name] = checkpointed
		}
	}
	boot, _ := oom.BootID()
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := bundle.Record{
		ID: c.id, Boot: boot, Probes: c.checkpoints,
		Pid: c.pid, StartTicks: c.startTicks, Delivered: state.Acked,
		OOMExitCode: c.policy.ExitCode, TrueStatus: state.TrueOnly, Stops: c.stopsLocked(),
		Grace: c.policy.Grace,
	}
	if c.exit != nil {
		rec = rec.Ended(*c.exit)
	}
	if v := c.verdict; v.Rule != "" {
		rec.Verdict = &v
	}
	return rec
}

// At notes a step that the loop has reached.
func (e effects) At(point string) {
	if point == "TaskOOM acked" {
		point = "acked: " + runtime.TaskOOMEventTopic
	}
	e.c.reach(point)
}

// Expired logs that the hold timeout has passed.
func (e effects) Expired(what string) {
	c := e.c
	fields := log.Fields{"container": c.id, "hold_timeout": c.s.cfg.HoldTimeout.String()}
	if what == "the release" {
		fields["waits_for"], fields["total"] = c.waitsFor.Load(), c.s.counts.add("hold timeout passed")
		log.G(c.s.ctx).WithFields(fields).Warn("exit gate: the hold timeout has passed, the exit is released")
		return
	}
	fields["total"] = c.s.counts.add("delete unannounced")
	log.G(c.s.ctx).WithFields(fields).Warn("containerd did not ack the exit within the hold timeout: the delete goes on")
}
