//go:build linux

package shim

import (
	"math"
	"runtime"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
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

// allKills stands for every kill of a run that there is going to be.
const allKills = math.MaxUint64

// notified follows up an OOM notification: collect the evidence at once, while the cgroup
// is there, and a few times more if there is nothing to see yet. One goroutine
// per run does it, and again for an OOM notification that has come meanwhile.
func (s *Service) notified(id string) {
	r := s.run(id)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notified = true
	if r.following || r.exit != nil {
		return
	}
	r.following = true
	go func() {
		for r.nextNotification() {
			s.followUp(r)
		}
	}()
}

// nextNotification reports whether there is an OOM notification to follow up. Where there is none nobody
// looks any more.
func (r *run) nextNotification() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.following = r.notified && r.exit == nil
	r.notified = false
	return r.following
}

func (s *Service) followUp(r *run) {
	before := kills(r.lastEvidence())
	for _, pause := range collectPauses {
		if ev := r.readBest(); ev.Init == oom.Yes {
			s.publishEarly(r, ev.Kills)
			return
		}
		now, _ := r.collect()
		if r.exited() {
			return
		}
		if now.kills() > before {
			s.killed(r, now.kills(), nil)
			return
		}
		select {
		case <-time.After(pause):
		case <-r.released:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// readBest returns the best source's evidence. The others can't say which process was
// killed, and need more time.
func (r *run) readBest() oom.Evidence {
	r.mu.Lock()
	probes := r.probes
	r.mu.Unlock()
	if len(probes) == 0 {
		return oom.Evidence{}
	}
	ev, _ := probes[0].Read() // an init that was named a victim stays a victim
	return ev
}

// publishEarly publishes the TaskOOM of an init that is a victim and has not been
// reaped, once. When it has been, that is the exit gate's to do: two would be one too
// many.
func (s *Service) publishEarly(r *run, kills uint64) {
	r.mu.Lock()
	if r.exit != nil || r.reportedKills == allKills {
		r.mu.Unlock()
		return
	}
	it := s.announceLocked(r, allKills)
	r.mu.Unlock()
	runtime.Gosched() // the queue goes first: what follows does not wait for anything
	s.killed(r, kills, it)
}

// killed acts on a kill in a container that runs on, or whose init is about to
// end, after an early TaskOOM.
func (s *Service) killed(r *run, kills uint64, early *item) {
	log.G(s.ctx).WithFields(log.Fields{"container": r.id, "kills": kills}).
		Info("the OOM killer ended a process of the container")
	if early != nil || !r.snappedSince(time.Now().Add(-snapshotEvery)) {
		s.snapshot(s.ctx, r)
	}
	if early != nil && opened(early.acked) {
		r.noteAck(early)
	}
	s.checkpoint(r) // counters do not have the time of a kill
	if r.policy.report != config.ReportLive {
		return
	}
	s.announce(r, kills)
}
