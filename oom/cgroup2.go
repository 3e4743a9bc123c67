package oom

import (
	"errors"
	"fmt"
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
	mount     string
	events    string
	ancestors []ancestor // from the parent up to the root of a cgroup namespace
	pod       bool
}

type ancestor struct {
	local    string
	baseline Counters
	readable bool
}

func openV2(h Hierarchy, cgroup string, pod bool) (meter, error) {
	m := &v2Meter{
		mount:  h.Mount,
		events: filepath.Join(h.Mount, cgroup, eventsFile),
		pod:    pod,
	}
	for up := cgroup; up != "/" && up != "."; {
		up = path.Dir(up)
		a := ancestor{local: filepath.Join(h.Mount, up, eventsLocalFile)}
		c, err := readCounters(a.local)
		if up == "/" && errors.Is(err, ErrGone) {
			break // the root of all has no limit, and no such file; that of a namespace has
		}
		// An ancestor without the file (memory not enabled there) has no limit
		// and is no cause. Any other trouble leaves it unread, not unarmed.
		a.baseline, a.readable = c, err == nil || errors.Is(err, ErrGone)
		m.ancestors = append(m.ancestors, a)
	}
	return m, nil
}

// resume takes the baselines of a checkpoint. An oomwitness that did not look at the
// root of a cgroup namespace has left that one out.
func (m *v2Meter) resume(baselines []checkpointedAncestor) error {
	root := len(m.ancestors) - 1
	if len(baselines) == root && path.Dir(m.ancestors[root].local) == path.Clean(m.mount) {
		m.ancestors = m.ancestors[:root]
	}
	if len(m.ancestors) != len(baselines) {
		return fmt.Errorf("the checkpoint has %d ancestors, not %d", len(baselines), len(m.ancestors))
	}
	for i, a := range baselines {
		m.ancestors[i].baseline, m.ancestors[i].readable = a.Baseline, a.Readable
	}
	return nil
}

func (m *v2Meter) read() (Counters, error) { return readCounters(m.events) }

// explain finds the cause by the table in the project's facts: the container's own
// limit, or one nested in it, raises oom in its hierarchical counters; an ancestor's
// raises only that ancestor's local one; a node-wide OOM raises none.
//
// A group kill takes the highest cgroup with memory.oom.group below the limit that fired
// (mm/memcontrol.c, mem_cgroup_get_oom_group), kills the victim, counts oom_group_kill in
// that cgroup, and kills all in it, the victim again (mm/oom_kill.c, oom_kill_process).
// So oom_kill rises once more than there are victims, in the cgroup of the first; and
// oom_group_kill rises in the hierarchical counters of the container if the group is the
// container's or nested in it, but if the group is an ancestor's only there. Of that
// ancestor's containers one has a kill too many, and no counter says which.
func (m *v2Meter) explain(rise Counters) explanation {
	above := m.readAncestors()
	why := explanation{cause: CauseNode, twice: above.rise.OOMGroupKill}
	if rise.NoGroups { // each OOM may be a group kill
		why.twice = rise.OOM + above.rise.OOM
	}
	switch {
	case rise.OOM > 0:
		why.cause = CauseContainer
	case above.fired == 0 && m.pod:
		why.cause = CausePod
	case above.fired >= 0:
		why.cause = CauseAncestor
	case above.blind:
		why.cause = CauseUnknown
	}
	return why
}

// above is what the counters of the ancestors say since the last reading.
type above struct {
	fired int      // the nearest ancestor whose limit has fired, or -1
	rise  Counters // of all ancestors' local counters
	blind bool     // an ancestor could not be read
}

// readAncestors reads the ancestors' counters, and moves the baselines.
func (m *v2Meter) readAncestors() above {
	up := above{fired: -1}
	for i := range m.ancestors {
		a := &m.ancestors[i]
		c, err := readCounters(a.local)
		if err != nil {
			up.blind = up.blind || !a.readable || !errors.Is(err, ErrGone)
			continue
		}
		rise := c.sub(a.baseline)
		if up.fired < 0 && rise.OOM > 0 {
			up.fired = i
		}
		up.rise.OOM += rise.OOM
		up.rise.OOMGroupKill += rise.OOMGroupKill
		a.baseline = c
	}
	return up
}
