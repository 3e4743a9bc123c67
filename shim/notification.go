//go:build linux

package shim

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// Upstream's watcher sends an OOM notification at a kill. The order of events, on cgroup v2:
//
//  1. the kernel counts the kill, and signals the victim: the ledger names it;
//  2. the kernel wakes the watcher, 10 ms after it last did at most
//     (cgroup_file_notify); upstream reads the counter, and notifies;
//  3. the victim's memory is torn down, it ends, and is reaped: the exit gate.
//
// Where 2 comes before 3, and the ledger names init a victim, the verdict is
// certain: the first rule asks for nothing else. So the TaskOOM is published
// there, and containerd mostly has it by the time that the exit gate begins. On cgroup
// v1 the OOM notification may come before 1, and also for kills in other cgroups.

// collectPauses are the pauses before the evidence is collected again after an OOM
// notification for which no source counts a kill yet.
// There may never be one.
var collectPauses = []time.Duration{
	time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond,
	320 * time.Millisecond, time.Second,
}

// snapshotEvery is how often metrics are read while children are killed. Most of the
// cost of a kill is to read them.
const snapshotEvery = time.Second

// notified follows up an OOM notification: collect the evidence at once, while the cgroup
// is there, and a few times more if there is nothing to see yet. One goroutine
// per run does it, and again for an OOM notification that has come meanwhile.
func (s *Service) notified(id string) {
	c := s.container(id)
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notified = true
	if c.following || c.exit != nil {
		return
	}
	c.following = true
	go func() {
		for c.nextNotification() {
			c.followUp()
		}
	}()
}

// nextNotification reports whether there is an OOM notification to follow up. Where there
// is none, nobody follows up any more.
func (c *container) nextNotification() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.following = c.notified && c.exit == nil
	c.notified = false
	return c.following
}

func (c *container) followUp() {
	before := kills(c.lastEvidence())
	for _, pause := range collectPauses {
		if ev := c.readBest(); ev.Init == oom.Yes {
			c.killed(ev.Kills, true)
			return
		}
		all, _, _ := c.collect()
		if c.exitKnown() != nil {
			return
		}
		if now := kills(all); now > before {
			c.killed(now, false)
			return
		}
		ctx, cancel := context.WithTimeout(c.s.ctx, pause)
		err := c.loop.Wait(ctx, (*exit.State).Released)
		cancel()
		if err == nil || c.s.ctx.Err() != nil || errors.Is(err, exit.ErrEnded) {
			return
		}
	}
}

// readBest returns the best source's evidence. The others can't say which process was
// killed, and need more time.
func (c *container) readBest() oom.Evidence {
	probes := c.armedProbes()
	if len(probes) == 0 {
		return oom.Evidence{}
	}
	ev, _ := probes[0].Read() // an init that was named a victim stays a victim
	return ev
}

// killed acts on a kill in a container that runs on, or whose init is the victim and has
// not been reaped: then TaskOOM is published now.
func (c *container) killed(kills uint64, init bool) {
	if c.exitKnown() != nil {
		return // the verdict's to publish
	}
	if init {
		c.loop.Do((*exit.State).VictimNamed)
	}
	log.G(c.s.ctx).WithFields(log.Fields{"container": c.id, "kills": kills}).
		Info("the OOM killer ended a process of the container")
	if init || !c.snappedSince(time.Now().Add(-snapshotEvery)) {
		c.snapshot(c.s.ctx)
	}
	c.loop.Touch() // counters do not have the time of a kill
	if c.policy.Report == config.ReportLive && !init {
		c.loop.Do(func(st *exit.State) { st.KillSeen(kills) })
	}
}
