package store

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// version of the lines. A journal whose head is of a later one is set aside: see unreadName.
const version = 1

var errLater = errors.New("a later version of the agent wrote it")

// Kinds of lines. A journal begins with a head, and what that counts; then come
// OOM events and the ends of deliveries.
const (
	kindHead     = "head"
	kindVictims  = "victims" // by cause
	kindSeries   = "series"
	kindSeen     = "seen"
	kindPast     = "past"      // counted in the head
	kindOOMEvent = "oom_event" // counted by this line
	kindDone     = "done"
)

// line is one of any kind, which says what fields it has.
type line struct {
	Version  int              `json:"v"`
	Kind     string           `json:"kind"`
	Boot     string           `json:"boot,omitempty"`
	Since    *time.Time       `json:"since,omitempty"`
	Last     *time.Time       `json:"last,omitempty"` // of a series; in the head of the OOM events that made room
	Count    uint64           `json:"n,omitempty"`
	Horizon  uint64           `json:"horizon,omitempty"`
	Dropped  uint64           `json:"dropped,omitempty"`
	Series   *events.Series   `json:"series,omitempty"`
	Keys     [][3]uint64      `json:"keys,omitempty"` // tgid, start ticks, boot ns
	OOMEvent *events.OOMEvent `json:"oom_event,omitempty"`
	Open     bool             `json:"open,omitempty"`
	// Only says that the OOM event is there for its delivery.
	Only bool   `json:"only,omitempty"`
	ID   string `json:"id,omitempty"`
}

// appendTo appends the line, with its end.
func (l *line) appendTo(b []byte) ([]byte, error) {
	l.Version = version
	text, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if len(text) >= maxLine {
		return nil, fmt.Errorf("journal: %w: %d bytes", errLong, len(text))
	}
	return append(append(b, text...), '\n'), nil
}

const (
	// maxLine is more than an OOM event of events.MaxVictims takes.
	maxLine = 2 << 20
	// keysPerLine keeps lines short.
	keysPerLine = 512
)

// parse reads a journal. Lines that are none are counted in damaged and left
// out, the last one that has no end without being counted: the node crashed.
func parse(r io.Reader, boot string, now time.Time) (s state, damaged int, err error) {
	s = newState(boot, now)
	in := bufio.NewReaderSize(bounded(r), 64<<10)
	same := true // the journal is of this boot
	for {
		text, err := readLine(in, maxLine)
		switch {
		case errors.Is(err, io.EOF):
			return s, damaged, nil
		case errors.Is(err, errLong):
			damaged++
			continue
		case err != nil:
			return s, damaged, err
		}
		var l line
		bad := json.Unmarshal(text, &l) != nil
		if !bad && l.Kind == kindHead && l.Version > version {
			return newState(boot, now), 0, fmt.Errorf("%w: it has version %d, and this agent reads %d", errLater, l.Version, version)
		}
		if bad || l.Version != version || !s.take(&l, &same) {
			damaged++
		}
	}
}

// take does what a line says, and returns false where that makes no sense.
func (s *state) take(l *line, same *bool) bool {
	switch l.Kind {
	case kindHead:
		*same = l.Boot == s.boot
		began := s.totals.Since
		if l.Since != nil {
			s.totals.Since = *l.Since
		}
		if l.Last != nil {
			s.totals.Dropped = *l.Last
		}
		s.totals.OOMEvents, s.dropped = l.Count, l.Dropped
		if *same {
			s.seen.horizon = l.Horizon
		} else { // what came between the last agent's end and the reboot, nobody has read
			s.totals.Dropped = later(s.totals.Dropped, began)
		}
	case kindVictims:
		if !oneOfCauses(l.ID) {
			return false
		}
		s.totals.Victims[l.ID] = l.Count
	case kindSeries:
		if l.Series == nil || l.Last == nil || !oneOfCauses(l.Series.Cause) {
			return false
		}
		s.totals.Series[*l.Series] = events.Count{Victims: l.Count, Last: *l.Last}
		s.boundSeries()
	case kindSeen:
		for _, key := range l.Keys {
			if *same && key[0] <= 1<<32-1 {
				s.seen.add(bpf.TaskKey{TGID: uint32(key[0]), StartTicks: key[1]}, key[2])
			}
		}
	case kindPast, kindOOMEvent:
		return s.takeOOMEvent(l, *same)
	case kindDone:
		s.done(l.ID)
	default:
		return false
	}
	return true
}

func (s *state) takeOOMEvent(l *line, same bool) bool {
	switch in := l.OOMEvent; {
	case in == nil || in.Check() != nil:
		return false
	case l.Kind == kindPast && l.Only:
		s.opened(*in)
	case l.Kind == kindPast:
		s.keep(*in, l.Open)
	case same:
		s.add(*in, l.Open)
	default:
		counted := s.seen
		s.seen = seen{known: map[bpf.TaskKey]struct{}{}}
		s.add(*in, l.Open)
		s.seen = counted
	}
	return true
}

func oneOfCauses(cause string) bool { return slices.Contains(events.CauseNames(), cause) }

// writeTo writes all lines of the state.
func (s *state) writeTo(w io.Writer) (int64, error) {
	out := &counting{w: bufio.NewWriter(w)}
	head := line{
		Kind: kindHead, Boot: s.boot, Since: &s.totals.Since, Count: s.totals.OOMEvents,
		Horizon: s.seen.horizon, Dropped: s.dropped,
	}
	if !s.totals.Dropped.IsZero() {
		head.Last = &s.totals.Dropped
	}
	out.line(head)
	for _, cause := range slices.Sorted(maps.Keys(s.totals.Victims)) {
		out.line(line{Kind: kindVictims, ID: cause, Count: s.totals.Victims[cause]})
	}
	for key, count := range s.totals.Series {
		out.line(line{Kind: kindSeries, Series: &key, Count: count.Victims, Last: &count.Last})
	}
	for chunk := range slices.Chunk(s.seen.order, keysPerLine) {
		l := line{Kind: kindSeen}
		for _, k := range chunk {
			l.Keys = append(l.Keys, [3]uint64{uint64(k.TGID), k.StartTicks, k.bootNS})
		}
		out.line(l)
	}
	s.writeOOMEvents(out)
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

// writeOOMEvents writes those whose delivery is open first, in their order: some
// are older than the past.
func (s *state) writeOOMEvents(out *counting) {
	past := map[string]bool{}
	for _, in := range s.past {
		past[in.ID] = true
	}
	for _, in := range s.openList() {
		if !past[in.ID] {
			out.line(line{Kind: kindPast, OOMEvent: &in, Open: true, Only: true})
		}
	}
	for _, in := range s.past {
		_, open := s.open[in.ID]
		out.line(line{Kind: kindPast, OOMEvent: &in, Open: open})
	}
}

// counting writes lines until the first error.
type counting struct {
	w    *bufio.Writer
	n    int64
	err  error
	text []byte // to be used again
}

func (c *counting) line(l line) {
	if c.err != nil {
		return
	}
	data, err := l.appendTo(c.text[:0])
	if errors.Is(err, errLong) {
		return // an OOM event whose names are longer than any that are used
	}
	if err != nil {
		c.err = err
		return
	}
	n, err := c.w.Write(data)
	c.n, c.err, c.text = c.n+int64(n), err, data
}
