package store

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
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
	heaviest := events.Heaviest(s.owners)
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

// missed notes that exits before the first of list may be missing, unless the first is known:
// what an agent before this one has read.
func (s *Exits) missed(list []spool.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now()
	if len(list) > 0 {
		until = list[0].At
	}
	if len(list) == 0 || !s.known[list[0].Key()] {
		s.missing = later(s.missing, until)
	}
}

// mark is a line of the file beside the exits: Missing at that time, for the next agent.
type mark struct {
	Missing time.Time `json:"missing"`
}

// takeMarks takes the marks out of the text of the file.
func (s *Exits) takeMarks(text []byte) (exits []byte) {
	for line := range bytes.Lines(text) {
		var m mark
		if !bytes.HasPrefix(line, []byte(`{"missing":`)) || json.Unmarshal(line, &m) != nil {
			exits = append(exits, line...)
			continue
		}
		s.missing = later(s.missing, m.Missing)
	}
	return exits
}

// writeMark writes the mark where it is newer than the one in the file.
func (s *Exits) writeMark(w io.Writer) (size int64, err error) {
	m := mark{s.Missing()}
	if m.Missing.IsZero() || m.Missing.Equal(s.marked) {
		return 0, nil
	}
	line, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(append(line, '\n'))
	s.marked = m.Missing
	return int64(n), err
}

// Missing returns the time of the newest exit that is missing, as far as that is known: the
// exit had to make room, or was gone from the spool before it was read. Zero for none.
func (s *Exits) Missing() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}
