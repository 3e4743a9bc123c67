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

// Upstream's watcher hints at a kill. The order of events, on cgroup v2:
//
//  1. the kernel counts the kill, and signals the victim: the ledger names it;
//  2. the kernel wakes the watcher, 10 ms after it last did at most
//     (cgroup_file_notify); upstream reads the counter, and hints;
//  3. the victim's memory is torn down, it ends, and is reaped: the barrier.
//
// Where 2 comes before 3, and the ledger says that init is a victim, the verdict is
// certain: the first rule asks for nothing else. So the TaskOOM is published
// there, and containerd mostly has it by the time that the barrier begins. On cgroup
// v1 the hint may come before 1, and also for kills in other cgroups.

// hintPauses are the times to look again after a hint that shows no kill yet.
// There may never be one.
var hintPauses = []time.Duration{
	time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond,
	320 * time.Millisecond, time.Second,
}

// snapshotEvery is how often metrics are kept while children are killed. Most of the
// cost of a kill is to read them.
const snapshotEvery = time.Second

// allKills stands for every kill of a run that there is going to be.
const allKills = math.MaxUint64

// hint follows up what upstream's watcher says: look at once, while the cgroup
// is there, and a few times more if there is nothing to see yet. One goroutine
// per run does it, and once more for what it was told meanwhile.
func (s *Service) hint(id string) {
	r := s.run(id)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hinted = true
	if r.looking || r.exit != nil {
		return
	}
	r.looking = true
	go func() {
		for r.takeHint() {
			s.followUp(r)
		}
	}()
}

// takeHint says whether there is a hint to follow up. Where there is none nobody
// looks any more.
func (r *run) takeHint() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looking = r.hinted && r.exit == nil
	r.hinted = false
	return r.looking
}

func (s *Service) followUp(r *run) {
	before := kills(r.lastLook())
	for _, pause := range hintPauses {
		if ev := r.askBest(); ev.Init == oom.Yes {
			s.foretell(r, ev.Kills)
			return
		}
		now, _ := r.look()
		if r.exited() {
			return
		}
		if now.kills() > before {
			s.killed(r, now.kills(), nil)
			return
		}
		select {
		case <-time.After(pause):
		case <-r.shown:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// askBest gives what the best source says. The others can't say which process was
// killed, and take longer.
func (r *run) askBest() oom.Evidence {
	r.mu.Lock()
	probes := r.probes
	r.mu.Unlock()
	if len(probes) == 0 {
		return oom.Evidence{}
	}
	ev, _ := probes[0].Read() // what it has once said of init stays true
	return ev
}

// foretell publishes the TaskOOM of an init that is a victim and has not been
// reaped, once. When it has been, that is the barrier's to do: two would be one too
// many.
func (s *Service) foretell(r *run, kills uint64) {
	r.mu.Lock()
	if r.exit != nil || r.told == allKills {
		r.mu.Unlock()
		return
	}
	it := s.announceLocked(r, allKills)
	r.mu.Unlock()
	runtime.Gosched() // the queue goes first: what follows does not wait for anything
	s.killed(r, kills, it)
}

// killed acts on a kill in a container that runs on, or whose init is about to
// end, as foretold.
func (s *Service) killed(r *run, kills uint64, foretold *item) {
	log.G(s.ctx).WithFields(log.Fields{"container": r.id, "kills": kills}).
		Info("the OOM killer ended a process of the container")
	if foretold != nil || !r.snappedSince(time.Now().Add(-snapshotEvery)) {
		s.snapshot(s.ctx, r)
	}
	if foretold != nil && opened(foretold.taken) {
		r.acknowledge(foretold)
	}
	s.keep(r) // counters don't say when it was
	if r.policy.report != config.ReportLive {
		return
	}
	s.announce(r, kills)
}
