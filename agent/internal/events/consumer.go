package events

import (
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// Consumer receives every OOM event. Take is called by one goroutine at a time
// and never waits: what takes time is queued within a bound. The OOM event is not
// changed afterwards, by nobody.
//
// After a start the agent reports what the ledger has recorded meanwhile,
// so that Time may be long ago. No OOM event comes twice, but for those that an agent
// before this one may have reported already: to a Tracked consumer alone, right after Start.
type Consumer interface {
	Take(in OOMEvent)
}

// Tracked is a Consumer whose deliveries are open until it has called done with
// the OOM event's ID, in this life of the agent or a later one: Kubernetes. Those
// that are open are reported again after a restart, oldest first.
type Tracked interface {
	Consumer
	// Start is called once, before the first Take. done may be called at any time,
	// by any goroutine, and more than once; it does not wait.
	Start(done func(id string))
}

// Restorer is a Consumer that goes on counting where the agent before this one
// has ended. Restore is called once, before the first Take.
type Restorer interface {
	Consumer
	// Restore gets the counts up to now and the last OOM events of them, oldest
	// first; none of these comes by Take.
	Restore(totals Totals, past []OOMEvent)
}

// Totals are what was counted since the agent's state was begun.
type Totals struct {
	// Since is when that was.
	Since time.Time
	// Dropped is the time of the newest OOM event that a Restorer does not get: the event had
	// to make room, or may have come before a reboot, unread. Zero where there is none.
	Dropped time.Time
	// OOMEvents, and Victims by cause (an oom.Cause).
	OOMEvents uint64
	Victims   map[string]uint64
	// Series are victims by container, those with the newest kill if they are too
	// many.
	Series map[Series]Count
}

// Series is what victims are counted by. Namespace, Pod and Container are the
// names in Kubernetes, empty outside it.
type Series struct{ Cause, Namespace, Pod, Container string }

// Count is one series' value.
type Count struct {
	Victims uint64
	// Last is the time of the newest kill.
	Last time.Time
}

// Health is how the agent is at the moment.
type Health struct {
	// Ready says that the ledger is read.
	Ready bool
	// Why not, "" if Ready.
	Why string
	// Tier of the ledger, "" without one.
	Tier string
	// Seen are the victims that the ledger has counted; Lost those that neither
	// the ring nor the map of victims had any more; RingFull the records for which
	// the ring was full, which are read from the map of victims.
	Seen, Lost, RingFull uint64
	// Lag is how long after its kill the newest record was read.
	Lag time.Duration
	// Journal is why the position can't be kept, Tree why cgroups have no names and
	// Containerd why containers have none of containerd's: "" where all is well.
	Journal, Tree, Containerd string
	// Exits is why the ends of containers are not known or not kept, "" where all is well.
	Exits string
	// Listeners is why an address is not listened at, "" where all is well.
	Listeners string
	// Roots are kubelet's cgroup roots, as found at the start.
	Roots cgroups.Roots
	// Open are the OOM events that a Tracked consumer has not done with.
	Open int
	// Cgroups are known, Watched are watched, Skipped could not be read.
	Cgroups, Watched, Skipped int
}
