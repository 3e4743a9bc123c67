//go:build linux

package shim

import (
	"context"
	"maps"
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

// container returns the container with that ID, tombstones included, or nil.
func (s *Service) container(id string) *container {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id]
}

// enter registers a container and returns the one that it takes the place of: a
// tombstone, or one that runs, which upstream refuses.
func (s *Service) enter(c *container) (old *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old = s.containers[c.id]
	s.containers[c.id] = c
	s.loops[c] = struct{}{}
	return old
}

// leave takes a container out again that could not be created, and puts back the one
// whose place it took.
func (s *Service) leave(c, old *container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.containers[c.id] == c {
		delete(s.containers, c.id)
		if old != nil {
			s.containers[c.id] = old
		}
	}
	delete(s.loops, c)
	c.loop.Close()
}

// retire notes that a container was deleted. It stays as a tombstone if it has an exit.
// The tombstones whose bundles are gone are forgotten: the bundles that there are limit
// the others.
func (s *Service) retire(c *container) {
	s.mu.Lock()
	if s.byPid[c.pid] == c {
		delete(s.byPid, c.pid)
	}
	all := slices.Collect(maps.Values(s.containers))
	s.mu.Unlock()
	if c.exitKnown() == nil {
		s.forget(c)
	}
	for _, o := range all {
		if o.deleted.Load() {
			s.forgotten(o)
		}
	}
}

// forget forgets a container, whose loop goes on until its events are acked.
func (s *Service) forget(c *container) {
	s.mu.Lock()
	if s.containers[c.id] == c {
		delete(s.containers, c.id)
	}
	maps.DeleteFunc(s.loops, func(c *container, _ struct{}) bool { return opened(c.loop.Ended()) })
	s.mu.Unlock()
	c.loop.Retire()
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

// adopt arms a container whose init has just been born. An init that was already reaped
// has exited at once.
func (s *Service) adopt(ctx context.Context, c *container, pid int) {
	if err := c.arm(pid, s.sources); err != nil {
		total := s.counts.add("evidence not armed")
		level := log.WarnLevel
		if total > 1 && len(c.armedProbes()) > 0 {
			level = log.DebugLevel // the node lacks it, for each container alike
		}
		log.G(ctx).WithError(err).WithFields(log.Fields{"container": c.id, "total": total, "refused": refusal(err)}).
			Log(level, "a source of OOM evidence can't be had for this container")
	}
	var endGroup func()
	if c.policy.OOMGroup != "" {
		var err error
		if endGroup, err = s.groups.Enforce(c.id, pid, c.policy); err != nil {
			log.G(ctx).WithError(err).WithField("container", c.id).Warn("memory.oom.group is set, but cannot be enforced")
		}
	}
	ticks, _ := bpf.StartTicks(pid) // 0 of an init that was reaped already
	c.mu.Lock()
	c.pid, c.startTicks, c.endGroup = pid, ticks, endGroup
	c.mu.Unlock()
	c.loop.Checkpoint(ctx)
	c.reach("armed")
	s.mu.Lock()
	e, dead := s.early[pid]
	// A process that is there now had the same pid as the one that exited.
	dead = dead && unix.Kill(pid, 0) == unix.ESRCH
	if !dead {
		s.byPid[pid] = c
	}
	s.mu.Unlock()
	if dead {
		c.exited(exitOf(e))
	}
}

// reaped notes the exit of an init in the moment in which it was reaped, before upstream
// lets anyone see the exit.
func (s *Service) reaped(exits <-chan runc.Exit) {
	for e := range exits {
		s.mu.Lock()
		c := s.byPid[e.Pid]
		delete(s.byPid, e.Pid)
		if c == nil && s.spawning > 0 && len(s.early) < maxEarly {
			s.early[e.Pid] = e
		}
		s.mu.Unlock()
		if c != nil {
			c.exited(exitOf(e))
		}
	}
}

func exitOf(e runc.Exit) oom.Exit {
	return oom.Exit{Pid: e.Pid, Status: e.Status, At: e.Timestamp}
}

// opened reports whether a channel is closed.
func opened(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
