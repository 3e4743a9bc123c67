package web

import (
	"slices"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

const (
	// MaxEvents is how many OOM events are kept.
	MaxEvents = 1000
	// MaxVictims is how many victims are kept in all. A victim needs about 1 KiB with its
	// names.
	MaxVictims = 4096
	// MaxEventVictims is how many victims are kept of one event: the first ones.
	MaxEventVictims = 64
)

// Entry is one event that is kept. It is never changed: who has one may read it
// without a lock.
type Entry struct {
	events.OOMEvent
	// Killed is the number of all victims. Victims has the first MaxEventVictims.
	Killed int
}

// History keeps the newest OOM events of the node in memory, for the page and the API. It
// is bounded in events and in victims, so that no storm makes the agent grow. It is safe
// for concurrent use. The zero value is empty.
type History struct {
	// mu guards what follows.
	mu      sync.RWMutex
	entries []*Entry    // oldest first, by time and then by ID
	victims events.Room // of all entries
	dropped uint64
	// complete is the time since which no event and no victim is missing, zero where that
	// is not known.
	complete time.Time
}

// Restore takes the events that an agent before this one has reported.
func (h *History) Restore(totals events.Totals, past []events.OOMEvent) {
	h.mu.Lock()
	h.complete = totals.Since
	h.missingLocked(totals.Dropped)
	h.mu.Unlock()
	for _, in := range past {
		h.add(in)
	}
}

// Take keeps one event. The oldest of the owner who has the most victims make room.
func (h *History) Take(in events.OOMEvent) { h.add(in) }

func (h *History) add(in events.OOMEvent) {
	e := &Entry{OOMEvent: in, Killed: len(in.Victims)}
	e.Victims = slices.Clone(in.Victims[:min(len(in.Victims), MaxEventVictims)])
	h.mu.Lock()
	defer h.mu.Unlock()
	at, _ := slices.BinarySearchFunc(h.entries, e, older)
	h.entries = slices.Insert(h.entries, at, e)
	h.victims.Add(events.OwnerOf(&e.OOMEvent), len(e.Victims))
	if e.Killed > len(e.Victims) {
		h.missingLocked(e.Time)
	}
	for len(h.entries) > MaxEvents || h.victims.All() > MaxVictims {
		h.removeLocked(h.victims.Drop(len(h.entries), func(i int) events.Owner { return events.OwnerOf(&h.entries[i].OOMEvent) }))
		h.dropped++
	}
}

// missingLocked says that something of a time is missing.
func (h *History) missingLocked(at time.Time) {
	if at.After(h.complete) && !h.complete.IsZero() {
		h.complete = at
	}
}

func (h *History) removeLocked(i int) {
	h.missingLocked(h.entries[i].Time)
	h.victims.Add(events.OwnerOf(&h.entries[i].OOMEvent), -len(h.entries[i].Victims))
	if i == 0 { // as a storm has it: nothing is moved
		h.entries[0] = nil
		h.entries = h.entries[1:]
		return
	}
	h.entries = slices.Delete(h.entries, i, i+1)
}

var _ events.Restorer = (*History)(nil)

func older(a, b *Entry) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	switch {
	case a.ID < b.ID:
		return -1
	case a.ID > b.ID:
		return 1
	}
	return 0
}

// Newest returns the events that are kept, newest first.
func (h *History) Newest() []*Entry {
	h.mu.RLock()
	defer h.mu.RUnlock()
	list := slices.Clone(h.entries)
	slices.Reverse(list)
	return list
}

// Extent says how much is kept.
type Extent struct {
	Events int
	// Oldest is the time of the oldest event, zero where there is none.
	Oldest time.Time
	// Dropped counts events that had to make room.
	Dropped uint64
	// Complete is the time since which no event and no victim is missing, zero where that
	// is not known.
	Complete time.Time
}

// Extent of the history now.
func (h *History) Extent() Extent {
	h.mu.RLock()
	defer h.mu.RUnlock()
	x := Extent{Events: len(h.entries), Dropped: h.dropped, Complete: h.complete}
	if len(h.entries) > 0 {
		x.Oldest = h.entries[0].Time
	}
	return x
}
