//go:build linux

package shim

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
	"github.com/oomwitness/oomwitness/shim/internal/faultpoint"
)

// recordWait is how long a verdict waits until the exit is on record, for the process
// that removes a dead shim's container. A disk that hangs must not delay the TaskOOM.
const recordWait = time.Second

// exited notes the first account of init's end, and has the verdict found.
func (c *container) exited(e oom.Exit) {
	c.mu.Lock()
	first := c.exit == nil
	if first {
		c.exit = &e
	}
	c.mu.Unlock()
	if first {
		c.loop.Exited(c.policy.ExitCode != 0)
		go c.conclude(e)
	}
}

// conclude collects the evidence of an exit, decides, and reads the last metrics. They
// say nothing of the exit: they are read while containerd handles the TaskOOM, or after
// the release.
func (c *container) conclude(e oom.Exit) {
	defer close(c.settled)
	ctx := c.s.ctx
	c.reach("reaped")
	<-c.ready
	evidence := c.lastReading()
	c.reach("read")
	recorded, cancel := context.WithTimeout(ctx, recordWait)
	c.loop.Recorded(recorded)
	cancel()
	c.reach("exit recorded")
	c.stopsUnanswered.Wait() // a stop that came too late has stopped nothing
	c.mu.Lock()
	v := oom.Decide(oom.Case{Exit: e, Evidence: evidence, Stops: c.stopsLocked(), Grace: c.policy.Grace})
	c.verdict = v
	c.mu.Unlock()
	c.reach("decided")
	early := c.loop.Decided(v.OOMKilled, v.Kills)
	c.reach("announced")
	if v.OOMKilled && !early {
		c.snapshot(ctx)
	}
	var acked, oomStatus bool
	_ = c.loop.Wait(ctx, func(s *exit.State) bool {
		acked, oomStatus = s.Record().Acked, s.ReportsOOM()
		return s.Released()
	})
	reported := int(c.status(uint32(e.Status), oomStatus))
	log.G(ctx).WithFields(v.LogFields(c.id, e, reported, acked)).Info("verdict")
	if !v.OOMKilled || early {
		c.snapshot(ctx)
	}
	c.spool(e, v, reported, acked)
}

// waitsAfter is what the verdict waits for after a step, for the log.
var waitsAfter = map[string]string{
	"reaped": "evidence", "read": "record", "exit recorded": "answers to stops", "announced": "containerd's ack",
}

// reach notes a step on the way of an exit. Each step is a fault point.
func (c *container) reach(step string) {
	if what := waitsAfter[step]; what != "" {
		c.waitsFor.Store(what)
	}
	faultpoint.Reach(step)
}

// lastReading collects the evidence for the last time.
func (c *container) lastReading() []oom.Evidence {
	all, dispute, err := c.collect()
	if dispute != "" {
		log.G(c.s.ctx).WithFields(log.Fields{"container": c.id, "dispute": dispute, "total": c.s.counts.add("evidence disputed")}).
			Error("exit gate: the sources of evidence disagree")
	}
	if err != nil {
		c.weaker(err, all)
	}
	return all
}

// weaker reports a source that could not be read. A cgroup that systemd was quick to
// remove, and a ledger that is not there, come at every exit of a node: while another
// source answers, they are worth a line once. A fault of one container's counters is
// worth one line for each container.
func (c *container) weaker(err error, all []oom.Evidence) {
	what, level := "evidence not read", log.WarnLevel
	switch {
	case errors.Is(err, oom.ErrGone):
		what, level = "cgroup gone", log.InfoLevel
	case ledgerAway(err):
		what = "ledger not read"
	}
	total := c.s.counts.add(what)
	if what != "evidence not read" && total > 1 && len(all) > 0 && !all[0].Gone {
		level = log.DebugLevel
	}
	log.G(c.s.ctx).WithError(err).WithFields(log.Fields{"container": c.id, "total": total}).
		Log(level, "exit gate: "+what)
}

// trouble logs and counts what makes a verdict weaker, and never stops an exit.
func (c *container) trouble(what string, err error) {
	log.G(c.s.ctx).WithError(err).WithFields(log.Fields{"container": c.id, "total": c.s.counts.add(what)}).
		Warn("exit gate: " + what)
}
