package bpf

import (
	"slices"

	"github.com/oomwitness/oomwitness/oom"
)

// newest returns the container's newest victims, oldest first, as many of kills as an
// Evidence names, and whether those are all of them. Each victim leads to the one before
// in the same cgroup: other cgroups' kills don't matter.
func (l *Ledger) newest(c Cgroup, kills uint64) (list []Record, all bool, err error) {
	key := TaskKey{TGID: c.Last.TGID, StartTicks: c.Last.StartTicks}
	for uint64(len(list)) < min(kills, oom.MaxVictims) {
		r, ok, err := l.task(key)
		if err != nil {
			return nil, false, err
		}
		if !ok { // pushed out
			break
		}
		list = append(list, r)
		if key, ok, err = l.before(r, c.ID); err != nil {
			return nil, false, err
		}
		if !ok {
			break
		}
	}
	slices.Reverse(list)
	return list, uint64(len(list)) == kills, nil
}

// before returns the victim before r in a cgroup that is r's own or above.
func (l *Ledger) before(r Record, cgroup uint64) (TaskKey, bool, error) {
	at, id := 0, r.Cgroup
	for ; id != cgroup; at++ {
		if at == maxBefore-1 {
			return TaskKey{}, false, nil
		}
		e, ok, err := l.cgroup(id)
		if err != nil || !ok {
			return TaskKey{}, false, err
		}
		id = e.Parent
	}
	if r.Before[at].TGID == 0 {
		return TaskKey{}, false, nil
	}
	for _, key := range r.Before[at].keys(r.StartTicks) {
		if _, ok, err := l.task(key); ok || err != nil {
			return key, ok, err
		}
	}
	return TaskKey{}, false, nil
}
