package page

import (
	"time"

	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/history"
	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/oom"
)

// Event is one OOM event as the API and the page show it. Its JSON form is stable:
// fields are added, never changed.
//
// Without Config.All it has what the owner of a pod can know of it: victims in pods
// with the names of pod, container and process, and their memory. What is the node's
// own is left out: processes in no pod are a number, and there are no IDs of
// processes and users of the node, no paths of cgroups, and not the name of who asked
// for the memory.
type Event struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Cause is whose limit fired.
	Cause oom.Cause `json:"cause"`
	// Tier of the programs that saw it.
	Tier string `json:"tier"`
	// SizeBytes is the size of what was full: a limit of memory and swap together,
	// or the node's. LimitBytes is the limit without swap, UsageBytes the most that
	// was used of it. Null where it is not known, or is of something in no pod.
	SizeBytes  *uint64 `json:"size_bytes"`
	LimitBytes *uint64 `json:"limit_bytes"`
	UsageBytes *uint64 `json:"usage_bytes"`
	// Killed counts all victims. Those that are not in Victims are in Hidden, or in
	// Omitted: of one event the first 64 are kept.
	Killed  int      `json:"killed"`
	Hidden  int      `json:"hidden"`
	Omitted int      `json:"omitted"`
	Victims []Victim `json:"victims"`
	// Domain and Trigger are there only with Config.All.
	Domain  *kill.Domain  `json:"domain,omitempty"`
	Trigger *kill.Process `json:"trigger,omitempty"`
}

// Victim is one process that was killed.
type Victim struct {
	Comm string `json:"comm"`
	// Init says that it was the container's init, SharedMemory that it was killed
	// for sharing its memory with the one that was chosen, OOMGroup that
	// memory.oom.group held.
	Init         bool            `json:"init"`
	SharedMemory bool            `json:"shared_memory"`
	OOMGroup     bool            `json:"oom_group"`
	OOMScoreAdj  int32           `json:"oom_score_adj"`
	Memory       kill.Memory     `json:"memory"`
	Container    *kill.Container `json:"container"`
	Pod          *kill.Pod       `json:"pod"`
	// These are there only with Config.All.
	Process *Process     `json:"process,omitempty"`
	Cgroup  *kill.Cgroup `json:"cgroup,omitempty"`
	Unit    string       `json:"unit,omitempty"`
}

// Process is a victim as the node knows it.
type Process struct {
	PID        uint32 `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
	UID        uint32 `json:"uid"`
}

// shown makes of an event what may be shown of it.
func shown(e *history.Entry, all bool) Event {
	out := Event{
		ID: e.ID, Time: e.Time, Cause: e.Cause, Tier: e.Tier, Killed: e.Killed,
		Omitted: e.Killed - len(e.Victims), Victims: []Victim{},
	}
	for i := range e.Victims {
		if v := &e.Victims[i]; all || v.Pod != nil {
			out.Victims = append(out.Victims, shownVictim(v, all))
		} else {
			out.Hidden++
		}
	}
	if all || out.Hidden == 0 || ofNode(e.Cause) {
		out.LimitBytes, out.UsageBytes = e.Limit, e.Usage
		if e.Domain != nil {
			out.SizeBytes = &e.Domain.Size
		}
	}
	if all {
		out.Domain, out.Trigger = e.Domain, &e.Trigger
	}
	return out
}

// ofNode reports whether what was full is everybody's.
func ofNode(cause oom.Cause) bool { return cause == oom.CauseNode || cause == oom.CauseSysrq }

func shownVictim(v *events.Victim, all bool) Victim {
	out := Victim{
		Comm: v.Comm, Init: v.Init, SharedMemory: v.SharedMemory, OOMGroup: v.OOMGroup, OOMScoreAdj: v.OOMScoreAdj,
		Memory: v.Memory, Container: v.Container, Pod: v.Pod,
	}
	if all {
		out.Process = &Process{PID: v.PID, StartTicks: v.StartTicks, UID: v.UID}
		out.Cgroup, out.Unit = &v.Cgroup, v.Unit
	}
	return out
}

// maxAnswer bounds the victims of one answer: it ends behind the event that passes
// it, and the next answer goes on from there.
const maxAnswer = 1000

// selection is the answer to a query.
type selection struct {
	events []Event
	// next is the ID from which the next answer goes on, "" at the end.
	next string
	// matched are all events that the query asks for, on any page, newest first.
	matched []*history.Entry
	// gone says that the event of before is not kept.
	gone bool
}

func (q *query) run(list []*history.Entry, all bool) (s selection) {
	behind := q.before == ""
	victims := 0
	for _, e := range list {
		ok := q.match(e)
		if ok {
			s.matched = append(s.matched, e)
		}
		switch {
		case e.ID == q.before:
			behind = true
		case !ok || !behind || s.next != "":
		case len(s.events) == q.limit || victims >= maxAnswer:
			s.next = s.events[len(s.events)-1].ID
		default:
			out := shown(e, all)
			victims += len(out.Victims)
			s.events = append(s.events, out)
		}
	}
	s.gone = !behind
	return s
}
