package store

import (
	"slices"
	"time"

	spool "github.com/oomwitness/oomwitness/oom/exits"
)

// add keeps exits that are not known, and returns them.
func (s *Exits) add(list []spool.Exit) (added []spool.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range list {
		if s.known[e.Key()] {
			continue
		}
		s.known[e.Key()] = true
		s.owners[owner(&e)]++
		s.exits = append(s.exits, e)
		added = append(added, e)
		if len(s.exits) > MaxExits {
			s.dropLocked()
		}
	}
	return added
}

// owner is whose an exit is: that of a Kubernetes namespace, or "" for the others.
func owner(e *spool.Exit) string {
	if e.Pod == nil {
		return ""
	}
	return e.Pod.Namespace
}

// dropLocked drops the oldest exit of the owner with the most. Its key stays known while
// the spool may have it still.
func (s *Exits) dropLocked() {
	heaviest, most := "", -1
	for name, n := range s.owners {
		if n > most || n == most && name < heaviest {
			heaviest, most = name, n
		}
	}
	i := slices.IndexFunc(s.exits, func(e spool.Exit) bool { return owner(&e) == heaviest })
	if s.owners[heaviest]--; s.owners[heaviest] == 0 {
		delete(s.owners, heaviest)
	}
	s.missing = later(s.missing, s.exits[i].At)
	s.exits = slices.Delete(s.exits, i, i+1)
	if len(s.known) > maxKnownExits {
		s.known = make(map[spool.Key]bool, len(s.exits))
		for i := range s.exits {
			s.known[s.exits[i].Key()] = true
		}
	}
}

// maxKnownExits is more than a spool can hold beside what is kept.
const maxKnownExits = 16 * MaxExits

// madeRoom returns the time up to which exits have made room, by those that are kept: the
// file does not say what was dropped. From the first drop on the number of exits
// of the owner with the most can't rise, so that whoever had to make room has as many, or
// one less.
func (s *Exits) madeRoom() (until time.Time) {
	most := 0
	for _, n := range s.owners {
		most = max(most, n)
	}
	oldest := map[string]bool{}
	for i := range s.exits {
		name := owner(&s.exits[i])
		if !oldest[name] && s.owners[name] >= most-1 {
			oldest[name] = true
			until = later(until, s.exits[i].At)
		}
	}
	return until
}

// Missing returns the time of the newest exit that had to make room; zero where none had
// to.
func (s *Exits) Missing() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}
