//go:build linux

package shim

import (
	"context"
	"slices"

	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// maxEarly bounds the exits that are remembered while containers are being
// created. Beyond it an exit is learned from upstream's service instead.
const maxEarly = 1024

// run returns the run of a container ID, or nil.
func (s *Service) run(id string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[id]
}

// enter registers a run and returns the one that it takes the place of. That is
// nil unless the ID is in use, which upstream refuses.
func (s *Service) enter(r *run) (old *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.runs[r.id]
	s.runs[r.id] = r
	delete(s.tombstones, r.id)
	return old
}

// leave takes a run out again, and puts back the one whose place it took.
func (s *Service) leave(r, old *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[r.id] == r {
		delete(s.runs, r.id)
		if old != nil {
			s.runs[r.id] = old
		}
	}
	if s.byPid[r.initPid()] == r {
		delete(s.byPid, r.initPid())
	}
}

// spawn notes that an init may be about to be born, and returns the function that
// ends this. Exits in between may be of an init whose pid is not known
// yet.
func (s *Service) spawn() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spawning++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.spawning--; s.spawning == 0 {
			clear(s.early)
		}
	}
}

// adopt arms a run whose init has just been born and returns it the pid. An init
// that has already been reaped is settled at once.
func (s *Service) adopt(ctx context.Context, r *run, pid int) {
	if err := r.arm(pid, s.sources); err != nil {
		total := s.counts.add("evidence not armed")
		level := log.WarnLevel
		if total > 1 && r.hasProbes() {
			level = log.DebugLevel // the node lacks it, for each container alike
		}
		log.G(ctx).WithError(err).WithFields(log.Fields{"container": r.id, "total": total}).
			Log(level, "a source of OOM evidence can't be had for this container")
	}
	if r.policy.oomGroup != "" {
		if err := s.enforceGroup(r, pid); err != nil {
			log.G(ctx).WithError(err).WithField("container", r.id).Warn("memory.oom.group is set, but cannot be enforced")
		}
	}
	ticks, _ := bpf.StartTicks(pid) // 0 of an init that was reaped already
	r.mu.Lock()
	r.pid, r.startTicks = pid, ticks
	r.mu.Unlock()
	s.checkpoint(r)
	faultPoint("armed")
	s.mu.Lock()
	e, dead := s.early[pid]
	// A process that is there now had the same pid as the one that exited.
	dead = dead && unix.Kill(pid, 0) == unix.ESRCH
	if !dead {
		s.byPid[pid] = r
	}
	s.mu.Unlock()
	if dead {
		s.settle(r, exitOf(e))
	}
}

// reaped starts the exit gate of an init in the moment in which it was reaped,
// before upstream lets anyone see the exit.
func (s *Service) reaped(exits <-chan runc.Exit) {
	for e := range exits {
		s.mu.Lock()
		r := s.byPid[e.Pid]
		delete(s.byPid, e.Pid)
		if r == nil && s.spawning > 0 && len(s.early) < maxEarly {
			s.early[e.Pid] = e
		}
		s.mu.Unlock()
		if r != nil {
			s.settle(r, exitOf(e))
		}
	}
}

func exitOf(e runc.Exit) oom.Exit {
	return oom.Exit{Pid: e.Pid, Status: e.Status, At: e.Timestamp}
}

// owe notes that upstream is about to publish a TaskDelete.
func (s *Service) owe(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed) == 0 {
		s.paid = make(chan struct{})
	}
	s.owed[r.id] = append(s.owed[r.id], r)
}

// creditor returns the run whose TaskDelete upstream publishes next under an ID. It
// may have been deleted by now, and the ID be another's.
func (s *Service) creditor(id string) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.owed[id]) == 0 {
		return s.runs[id]
	}
	return s.owed[id][0]
}

// pay notes that upstream has published the TaskDelete, or will not.
func (s *Service) pay(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.Index(s.owed[r.id], r)
	if at < 0 {
		return
	}
	if s.owed[r.id] = slices.Delete(s.owed[r.id], at, at+1); len(s.owed[r.id]) == 0 {
		delete(s.owed, r.id)
	}
	if len(s.owed) == 0 {
		close(s.paid)
	}
}
