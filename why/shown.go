package why

import (
	"slices"
	"time"
)

// OOMKilled reports whether the OOM killer ended a run that is shown in full.
func (d *Document) OOMKilled(previous bool) bool {
	for _, shown := range d.shown(previous) {
		if shown.full.OOMKilled() {
			return true
		}
	}
	return false
}

// shown is what a page has of one container: a run in full, the older runs, and the run
// that goes on, nil if none does or if full is this run.
type shown struct {
	full    *Run
	running *Run
	earlier []*Run
}

// shown returns the runs by container. Shown in full is the newest run that has ended, of
// a container without such a run the run that goes on. previous leaves out the newest run
// of each container.
func (d *Document) shown(previous bool) (all []shown) {
	for _, runs := range d.byContainer() {
		if previous {
			runs = runs[1:]
		}
		var s shown
		if len(runs) > 1 && runs[0].Running {
			s.running, runs = runs[0], runs[1:]
		}
		if len(runs) > 0 {
			s.full, s.earlier = runs[0], runs[1:]
			all = append(all, s)
		}
	}
	return all
}

// byContainer returns the runs of each container, in the document's order.
func (d *Document) byContainer() [][]*Run {
	var order []string
	byName := map[string][]*Run{}
	for i := range d.Runs {
		r := &d.Runs[i]
		key := r.key()
		if byName[key] == nil {
			order = append(order, key)
		}
		byName[key] = append(byName[key], r)
	}
	all := make([][]*Run, 0, len(order))
	for _, key := range order {
		all = append(all, byName[key])
	}
	return all
}

// key is the same for all runs of one container in its pod.
func (r *Run) key() string {
	if r.Pod != nil {
		return r.Pod.Namespace + "/" + r.Pod.Name + "/" + r.Container.Name
	}
	return r.Container.ID
}

// Sort puts the newest runs first: those that go on, then by the end.
func Sort(runs []Run) {
	slices.SortStableFunc(runs, func(a, b Run) int { return b.end().Compare(a.end()) })
}

// Times of runs without a time of their end: those that go on are newer than all others, and
// then come those of which the status of the pod says that they ended.
var (
	goesOn      = time.Unix(1<<61, 0)
	endsUnknown = time.Unix(1<<60, 0)
)

// end returns when a run ended.
func (r *Run) end() time.Time {
	switch {
	case r.Running:
		return goesOn
	case r.EndedAt != nil:
		return *r.EndedAt
	case r.OOM != nil:
		return r.OOM.Time
	default:
		return endsUnknown
	}
}

// HasPrevious reports whether a container has a run before its newest.
func (d *Document) HasPrevious() bool { return len(d.shown(true)) > 0 }
