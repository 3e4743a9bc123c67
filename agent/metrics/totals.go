package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/oom"
)

// Totals are the counts that outlive the agent: what the journal keeps of them, and
// gives back at the next start. The JSON form stays as long as fields are only added.
type Totals struct {
	Victims map[oom.Cause]uint64 `json:"victims"`
	Events  []Outcome            `json:"events"`
	Marked  []Outcome            `json:"marked"`
	Kills   []Kills              `json:"kills"`
	// Overflow are the kills for which there was no series left, since
	// OverflowCreated.
	Overflow        uint64    `json:"overflow"`
	OverflowCreated time.Time `json:"overflow_created"`
}

// Outcome is one series of events_total or marked_victims_total.
type Outcome struct {
	Stage  outcome.Stage  `json:"stage"`
	Reason outcome.Reason `json:"reason"`
	Count  uint64         `json:"count"`
}

// Kills is one series of oom_kills_total.
type Kills struct {
	Scope     oom.Cause `json:"scope"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	Count     uint64    `json:"count"`
	// Created is when counting began, Last the time of the last kill.
	Created time.Time `json:"created"`
	Last    time.Time `json:"last"`
}

// Totals gives the counts as they are now, in an order that stays.
func (m *Metrics) Totals() Totals {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Totals{
		Victims: map[oom.Cause]uint64{}, Events: outcomes(m.events), Marked: outcomes(m.marked),
		Overflow: m.kills.overflow.count, OverflowCreated: m.kills.overflow.created,
	}
	for scope, n := range m.victims {
		if n > 0 {
			t.Victims[scope] = n
		}
	}
	for key, s := range m.kills.series {
		t.Kills = append(t.Kills, Kills{
			Scope: key.scope, Namespace: key.namespace, Pod: key.pod, Container: key.container,
			Count: s.count, Created: s.created.Round(0), Last: s.last.Round(0), // no monotonic clock outlives us
		})
	}
	slices.SortFunc(t.Kills, func(a, b Kills) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Namespace, b.Namespace),
			cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
	})
	return t
}

func outcomes(from map[outcomeKey]uint64) (list []Outcome) {
	for key, n := range from {
		if n > 0 {
			list = append(list, Outcome{key.stage, key.reason, n})
		}
	}
	slices.SortFunc(list, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// ErrTotals is of totals that no agent has written.
var ErrTotals = errors.New("not the totals of an agent")

// Restore sets the counts. It is called once, before the first count; nothing is set
// where it gives an error.
func (m *Metrics) Restore(t Totals) error {
	if err := t.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrTotals, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for scope, n := range t.Victims {
		m.victims[known(scope)] += n
	}
	for _, o := range t.Events {
		count(m.events, o.Stage, o.Reason, o.Count)
	}
	for _, o := range t.Marked {
		count(m.marked, o.Stage, o.Reason, o.Count)
	}
	m.kills.overflow.count = t.Overflow
	if !t.OverflowCreated.IsZero() {
		m.kills.overflow.created = t.OverflowCreated
	}
	m.restoreKillsLocked(t.Kills)
	return nil
}

// restoreKillsLocked takes the newest first. Where there is less room than there was
// the rest goes: to add it to the overflow would look like kills of now.
func (m *Metrics) restoreKillsLocked(list []Kills) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Kills) int { return b.Last.Compare(a.Last) })
	now := time.Now()
	for _, s := range list {
		key := killKey{known(s.Scope), s.Namespace, s.Pod, s.Container}
		if now.Sub(s.Last) >= 2*m.o.SeriesTTL {
			continue
		}
		if _, twice := m.kills.series[key]; twice || !m.kills.room(now) {
			continue
		}
		// One that is said to be of the future would never expire.
		last := s.Last
		if last.After(now) {
			last = now
		}
		m.kills.series[key] = &series{count: s.Count, created: s.Created, last: last}
	}
}

// maxRestored bounds what is read back.
const maxRestored = 1 << 16

func (t Totals) check() error {
	if len(t.Kills) > maxRestored || len(t.Events) > maxRestored || len(t.Marked) > maxRestored {
		return fmt.Errorf("more than %d counts", maxRestored)
	}
	for _, s := range t.Kills {
		if err := checkLabels(s.Namespace, s.Pod, s.Container); err != nil {
			return err
		}
	}
	for _, o := range slices.Concat(t.Events, t.Marked) {
		if err := checkLabels(string(o.Stage), string(o.Reason)); err != nil {
			return err
		}
	}
	return nil
}

func checkLabels(names ...string) error {
	for _, name := range names {
		if label(name) != name || !utf8.ValidString(name) {
			return fmt.Errorf("label %.300q", name)
		}
	}
	return nil
}
