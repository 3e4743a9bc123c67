package bpf

import (
	"slices"

	"github.com/oomwitness/oomwitness/oom"
)

// maxWalked bounds the victims that are looked at for one that is no exec'd process.
const maxWalked = 1024

// newest returns the container's newest victims, oldest first, as many of kills as an
// Evidence names. Each victim leads to the one before in the same cgroup: other cgroups'
// kills don't matter. If all are of exec'd processes, the oldest gives way to the newest
// that is not, and execs is how many between them have no name. all is true if no kill is
// missing.
func (l *Ledger) newest(c Cgroup, kills uint64, execd func(*Record) bool) (list []Record, execs uint64, all bool, err error) {
	key, only := TaskKey{TGID: c.Last.TGID, StartTicks: c.Last.StartTicks}, true
	for ok := true; ok && uint64(len(list))+execs < min(kills, maxWalked) && (only || len(list) < oom.MaxVictims); {
		var r Record
		if r, ok, err = l.task(key); err != nil {
			return nil, 0, false, err
		}
		if !ok { // pushed out
			break
		}
		only = only && execd(&r)
		if len(list) < oom.MaxVictims {
			list = append(list, r)
		} else {
			execs++ // the one that has given way, or this one
		}
		if !only {
			list[len(list)-1] = r
		}
		if key, ok, err = l.before(r, c.ID); err != nil {
			return nil, 0, false, err
		}
	}
	slices.Reverse(list)
	return list, execs, uint64(len(list))+execs == kills, nil
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
