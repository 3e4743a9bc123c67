package store

import (
	"maps"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// state is what the journal says.
type state struct {
	boot    string
	seen    seen
	totals  events.Totals
	past    []events.OOMEvent          // the last, oldest first
	open    map[string]events.OOMEvent // by ID
	order   []string                   // of open, oldest first
	dropped uint64
	// pastVictims and openVictims are those of past and open.
	pastVictims, openVictims events.Room
}

func newState(boot string, now time.Time) state {
	return state{
		boot: boot, seen: seen{known: map[bpf.TaskKey]struct{}{}},
		totals: events.Totals{
			Since: now, Victims: map[string]uint64{}, Series: map[events.Series]events.Count{},
		},
		open: map[string]events.OOMEvent{},
	}
}

func (s *state) empty() bool { return s.totals.OOMEvents == 0 }

// add counts an OOM event, with its victims.
func (s *state) add(in events.OOMEvent, open bool) {
	s.totals.OOMEvents++
	for _, v := range in.Victims {
		s.seen.add(bpf.TaskKey{TGID: v.PID, StartTicks: v.StartTicks}, in.BootNS)
		s.totals.Victims[string(in.Cause)]++
		key := events.SeriesOf(&in, &v)
		count := s.totals.Series[key]
		count.Victims++
		count.Last = in.Time
		s.totals.Series[key] = count
	}
	s.boundSeries()
	s.keep(in, open)
}

// keep adds one to the past, and to what is open. The oldest of the owner who has the
// most victims there makes room.
func (s *state) keep(in events.OOMEvent, open bool) {
	s.past = append(s.past, in)
	s.pastVictims.Add(events.OwnerOf(&in), len(in.Victims))
	for len(s.past) > maxPast || len(s.past) > 1 && s.pastVictims.All() > maxVictims {
		i := s.pastVictims.Drop(len(s.past), func(i int) events.Owner { return events.OwnerOf(&s.past[i]) })
		s.totals.Dropped = later(s.totals.Dropped, s.past[i].Time)
		s.pastVictims.Add(events.OwnerOf(&s.past[i]), -len(s.past[i].Victims))
		if i == 0 { // as a storm has it: nothing is moved
			s.past[0] = events.OOMEvent{} // what is cut off holds no memory
			s.past = s.past[1:]
			continue
		}
		s.past = slices.Delete(s.past, i, i+1)
	}
	if open {
		s.opened(in)
	}
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (s *state) opened(in events.OOMEvent) {
	if _, ok := s.open[in.ID]; ok {
		return
	}
	s.open[in.ID] = in
	s.order = append(s.order, in.ID)
	s.openVictims.Add(events.OwnerOf(&in), len(in.Victims))
	for len(s.open) > maxOpen || len(s.open) > 1 && s.openVictims.All() > maxVictims {
		s.done(s.order[s.openVictims.Drop(len(s.order), func(i int) events.Owner {
			in := s.open[s.order[i]]
			return events.OwnerOf(&in)
		})])
		s.dropped++
	}
}

// done returns false where it was not open.
func (s *state) done(id string) bool {
	in, ok := s.open[id]
	if !ok {
		return false
	}
	s.openVictims.Add(events.OwnerOf(&in), -len(in.Victims))
	delete(s.open, id)
	s.order = slices.DeleteFunc(s.order, func(other string) bool { return other == id })
	return true
}

func (s *state) openList() []events.OOMEvent {
	list := make([]events.OOMEvent, 0, len(s.order))
	for _, id := range s.order {
		list = append(list, s.open[id])
	}
	return list
}

func (s *state) boundSeries() {
	for len(s.totals.Series) > maxSeries {
		of := map[string]int{}
		for key := range s.totals.Series {
			of[key.Namespace]++
		}
		heaviest := events.Heaviest(of)
		var (
			oldest events.Series
			last   time.Time
		)
		for key, count := range s.totals.Series {
			if key.Namespace == heaviest && (last.IsZero() || count.Last.Before(last)) {
				oldest, last = key, count.Last
			}
		}
		delete(s.totals.Series, oldest)
	}
}

func (s *state) copyTotals() events.Totals {
	t := s.totals
	t.Victims, t.Series = maps.Clone(t.Victims), maps.Clone(t.Series)
	return t
}

// seen are the victims that were counted in this boot.
type seen struct {
	known map[bpf.TaskKey]struct{}
	order []seenKey // of known, oldest first
	// horizon is the newest time, CLOCK_BOOTTIME in ns, of those that were
	// forgotten: the ledger can't name an older one that is not known.
	horizon uint64
}

type seenKey struct {
	bpf.TaskKey
	bootNS uint64
}

func (s *seen) has(key bpf.TaskKey, bootNS uint64) bool {
	_, ok := s.known[key]
	return ok || bootNS <= s.horizon
}

func (s *seen) add(key bpf.TaskKey, bootNS uint64) {
	if _, ok := s.known[key]; ok {
		return
	}
	s.known[key] = struct{}{}
	s.order = append(s.order, seenKey{key, bootNS})
	if len(s.order) > maxSeen {
		s.horizon = max(s.horizon, s.order[0].bootNS)
		delete(s.known, s.order[0].TaskKey)
		s.order = s.order[1:]
	}
}
