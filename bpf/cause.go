package bpf

import (
	"slices"

	"github.com/oomwitness/oomwitness/oom"
)

// place is where a container is in the cgroup tree, as IDs.
type place struct {
	cgroup uint64
	// above are the IDs of the cgroups above it, nearest first.
	above []uint64
	// pod is true if above[0] is the container's pod.
	pod bool
}

// wholePlace completes what is above the mount, which is not the hierarchy's root in a
// cgroup namespace, from the ledger. A kill in the container has made the entries.
func (l *Ledger) wholePlace(p place) (place, error) {
	for len(p.above) > 0 && len(p.above) < maxDepth {
		top, ok, err := l.cgroup(p.above[len(p.above)-1])
		if err != nil || !ok || top.Parent == 0 {
			return p, err
		}
		p.above = append(slices.Clip(p.above), top.Parent)
	}
	return p, nil
}

// cgroupsOf returns the cgroup of a victim and those above it, nearest first, as the
// victim's own kill has entered them.
func (l *Ledger) cgroupsOf(id uint64) ([]uint64, error) {
	var list []uint64
	for id != 0 && len(list) < maxDepth {
		list = append(list, id)
		c, ok, err := l.cgroup(id)
		if err != nil || !ok {
			return list, err
		}
		id = c.Parent
	}
	return list, nil
}

// cause returns whose limit ended a process that was in the container.
func (p place) cause(constraint uint32, order int32, domain uint64) oom.Cause {
	return p.causeFor(oom.Kill[uint64]{Constraint: constraint, Order: order, Limit: domain, Inside: true})
}

// causeFor returns whose limit a kill is due to, seen from the container.
func (p place) causeFor(k oom.Kill[uint64]) oom.Cause {
	k.Container, k.Above = p.cgroup, p.above
	if p.pod && len(p.above) > 0 {
		k.Pod = p.above[0]
	}
	return oom.Classify(k)
}
