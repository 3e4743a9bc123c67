package oom

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Reading is the result of a probe's Read.
type Reading struct {
	Evidence Evidence
	Err      error
}

// Rank orders readings by how much they can be trusted. dispute names the sources
// that disagree about a kill; it is "" if none do.
//
// The readings come best source first. One that has named init a victim stands
// ahead of all: that stays true, whatever becomes of its source. A good one stands
// ahead of those that were taken before the source or its cgroup was lost. Of those the one
// that knows of more kills is first: what it has seen stays true too. A source
// that knows its victims by name must know of every kill that a counter has
// counted. Where it does not, it has missed one, which may have been init: then the
// counter is the better evidence, unless init is named. A kill that the counter may have
// counted twice is no dispute. Nor is the reverse: processes that share a victim's memory
// are killed without being counted.
//
// Counters must be read before a source that names victims, which knows of a
// kill first: else a kill in between would look like one missed.
func Rank(readings []Reading) (all []Evidence, dispute string) {
	readings = slices.Clone(readings)
	sort.SliceStable(readings, func(i, j int) bool { return compare(readings[i], readings[j]) < 0 })
	for _, r := range readings {
		all = append(all, r.Evidence)
	}
	if len(readings) < 2 || readings[0].rank() > 0 || all[0].Init == Unknown {
		return all, ""
	}
	for i, r := range readings[1:] {
		if r.rank() == 0 && r.Evidence.leastKills() > all[0].Kills {
			dispute = fmt.Sprintf("%s counts %d kills, %s knows of %d",
				r.Evidence.Source, r.Evidence.Kills, all[0].Source, all[0].Kills)
			if all[0].Init != Yes {
				all[0], all[i+1] = all[i+1], all[0]
			}
			return all, dispute
		}
	}
	return all, ""
}

// Collect reads all probes, which come best source first, and ranks the readings. err
// joins the errors of the readings.
func Collect(probes []Probe) (all []Evidence, dispute string, err error) {
	readings := make([]Reading, len(probes))
	for i, p := range slices.Backward(probes) { // counters before a source that names victims
		readings[i].Evidence, readings[i].Err = p.Read()
		err = errors.Join(err, readings[i].Err)
	}
	all, dispute = Rank(readings)
	return all, dispute, err
}

// leastKills is how many processes have been killed at the least.
func (e Evidence) leastKills() uint64 {
	if e.Kills == 0 {
		return 0
	}
	return e.Kills - min(e.Twice, e.Kills-1)
}

// compare returns a number below 0 if a stands ahead of b.
func compare(a, b Reading) int {
	if a.rank() > 0 && b.rank() > 0 {
		return cmp.Or(cmp.Compare(b.Evidence.leastKills(), a.Evidence.leastKills()), a.rank()-b.rank())
	}
	return a.rank() - b.rank()
}

func (r Reading) rank() int {
	switch {
	case r.Evidence.Init == Yes:
		return -1
	case r.Err == nil:
		return 0
	case errors.Is(r.Err, ErrGone):
		return 1
	default:
		return 2
	}
}
