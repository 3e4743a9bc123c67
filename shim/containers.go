//go:build linux

package shim

import (
	"context"
	"maps"
	"slices"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/bpf"
)

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

// adopt arms a container whose init has just been born.
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
	defer s.mu.Unlock()
	s.byPid[pid] = c // of an init that was reaped already upstream says the end
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
