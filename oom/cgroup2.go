package oom

import (
	"errors"
	"path"
	"path/filepath"
)

const (
	eventsFile      = "memory.events"
	eventsLocalFile = "memory.events.local"
)

// v2Meter reads memory.events of a cgroup, which counts nested cgroups too, and
// memory.events.local of its ancestors, which does not count what is below
// them: a limit is counted in the local file of the cgroup that has it, and only
// there (mm/memcontrol.c, memcg_memory_event).
type v2Meter struct {
	events    string
	ancestors []ancestor // from the parent up to below the root
	pod       bool
}

type ancestor struct {
	local    string
	baseline Counters
	readable bool
}

func openV2(h Hierarchy, cgroup string, pod bool) (meter, error) {
	m := &v2Meter{
		events: filepath.Join(h.Mount, cgroup, eventsFile),
		pod:    pod,
	}
	for up := path.Dir(cgroup); up != "/" && up != "."; up = path.Dir(up) {
		a := ancestor{local: filepath.Join(h.Mount, up, eventsLocalFile)}
		c, err := readCounters(a.local)
		// An ancestor without the file (memory not enabled there) has no limit
		// and is no cause. Any other trouble leaves it unread, not unarmed.
		a.baseline, a.readable = c, err == nil || errors.Is(err, ErrGone)
		m.ancestors = append(m.ancestors, a)
	}
	return m, nil
}

func (m *v2Meter) read() (Counters, error) { return readCounters(m.events) }

// cause follows the table in the project's facts: the container's own limit, or
// one nested in it, raises oom in its hierarchical counters; an ancestor's
// raises only that ancestor's local one; a node-wide OOM raises none.
func (m *v2Meter) cause(rise Counters) Cause {
	fired, blind := m.firedAncestor()
	switch {
	case rise.OOM > 0:
		return CauseContainer
	case fired == 0 && m.pod:
		return CausePod
	case fired >= 0:
		return CauseAncestor
	case blind:
		return CauseUnknown
	default:
		return CauseNode
	}
}

// firedAncestor returns the index of the nearest ancestor whose limit has fired
// since the last call, or -1, and whether one could not be read. It moves the
// baselines.
func (m *v2Meter) firedAncestor() (fired int, blind bool) {
	fired = -1
	for i := range m.ancestors {
		a := &m.ancestors[i]
		c, err := readCounters(a.local)
		if err != nil {
			blind = blind || !a.readable || !errors.Is(err, ErrGone)
			continue
		}
		if fired < 0 && c.OOM > a.baseline.OOM {
			fired = i
		}
		a.baseline = c
	}
	return fired, blind
}
