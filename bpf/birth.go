package bpf

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

var _ oom.Witness = (*Source)(nil)

// sameMoment is how far the time of a kill, which is made from two clocks, may be off.
const sameMoment = 10 * time.Millisecond

// KilledBelow implements oom.Witness. It reads all records, and is for calls that have
// failed.
func (s *Source) KilledBelow(shim int, since time.Time) (list []oom.Killed, err error) {
	ticks, err := StartTicks(shim)
	if err != nil {
		return nil, err
	}
	key := TaskKey{TGID: uint32(shim), StartTicks: ticks}
	err = s.ask(func(l *Ledger) error {
		list = nil
		records, err := l.Records()
		if err != nil {
			return err
		}
		for i := range records {
			r := &records[i]
			if !slices.Contains(r.Ancestors[:min(r.Depth, maxAncestors)], key.ref()) || r.Time().Before(since.Add(-sameMoment)) {
				continue
			}
			k, err := s.killed(l, r)
			if err != nil {
				return err
			}
			list = append(list, k)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kills below process %d: %w", shim, err)
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].At.Before(list[j].At) })
	return list, nil
}

// killed returns a record with all that is known of its OOM event. The container is not
// known: the victim's own cgroup stands for it.
func (s *Source) killed(l *Ledger, r *Record) (oom.Killed, error) {
	above, err := l.cgroupsOf(r.Cgroup)
	if err != nil {
		return oom.Killed{}, err
	}
	k := oom.Killed{
		Victim: (&probe{place: place{cgroup: r.Cgroup}}).victim(r),
		Own:    r.Domain == r.Cgroup && r.Domain != 0,
	}
	k.Lineage, k.LimitPath = oom.LineageUnknown, cgroupPath(s.h.Mount, r.Domain)
	k.Cause = oom.Classify(oom.Kill[uint64]{
		Constraint: r.Constraint, Order: r.Order, Limit: r.Domain, Victim: above, Container: r.Cgroup,
	})
	m, ok, err := l.memory(r.Seq)
	if ok {
		k.Memory = &m
	}
	return k, err
}
