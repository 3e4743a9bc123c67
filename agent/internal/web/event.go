package web

import (
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
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
	// Kinds is what filled the memory. Candidates are the largest
	// processes that the OOM killer looked at: only with Config.All, or where the limit
	// is that of a container or of a pod.
	Kinds      []why.Kind      `json:"kinds,omitempty"`
	Candidates []why.Candidate `json:"candidates,omitempty"`
	// Killed counts all victims. Those that are not in Victims are in Hidden, or in
	// Omitted: of one event the first 64 are kept.
	Killed  int             `json:"killed"`
	Hidden  int             `json:"hidden"`
	Omitted int             `json:"omitted"`
	Victims []events.Victim `json:"victims"`
	// Domain and Trigger are there only with Config.All.
	Domain  *events.Domain  `json:"domain,omitempty"`
	Trigger *events.Process `json:"trigger,omitempty"`

	// sized says that sizes of what was full may be shown.
	sized bool
}

// shown makes of an event what may be shown of it.
func shown(e *Entry, all bool) Event {
	out := Event{
		ID: e.ID, Time: e.Time, Cause: e.Cause, Tier: e.Tier, Killed: e.Killed,
		Omitted: e.Killed - len(e.Victims), Victims: []events.Victim{},
	}
	for i := range e.Victims {
		switch v := &e.Victims[i]; {
		case all:
			out.Victims = append(out.Victims, *v)
		case v.Pod != nil:
			out.Victims = append(out.Victims, v.ForOwner())
		default:
			out.Hidden++
		}
	}
	if out.sized = all || out.Hidden == 0 || ofNode(e.Cause); out.sized {
		out.LimitBytes, out.UsageBytes = e.Limit, e.Usage
		if e.Domain != nil {
			out.SizeBytes = &e.Domain.Size
		}
		out.addMemory(e, all)
	}
	if all {
		out.Domain, out.Trigger = e.Domain, &e.Trigger
	}
	return out
}

// addMemory adds what filled the memory, as far as it may be shown.
func (out *Event) addMemory(e *Entry, all bool) {
	var of why.OOMEvent
	collect.AddMemory(&of, e.Memory)
	out.Kinds = of.Kinds
	if !all && e.Cause != oom.CauseContainer && e.Cause != oom.CausePod {
		return
	}
	for _, c := range of.Candidates {
		if !all {
			c.PID = 0
		}
		out.Candidates = append(out.Candidates, c)
	}
}

// ofNode reports whether what was full is everybody's.
func ofNode(cause oom.Cause) bool { return cause == oom.CauseNode || cause == oom.CauseSysrq }

// maxAnswer bounds the victims of one answer, and maxText their weight: an answer ends
// behind the event that passes a bound, and the next answer goes on from there. Names that
// are as long as they can be make three times as much text as the usual ones.
const (
	maxAnswer = 1000
	maxText   = maxBody / 2
)

// weight returns about how many bytes an event takes in an answer.
func (e *Event) weight() int {
	const fields, fieldsOfVictim = 512, 512
	n := fields + 128*len(e.Candidates)
	for i := range e.Victims {
		v := &e.Victims[i]
		n += fieldsOfVictim + len(v.Cgroup.Path) + len(v.Cgroup.Ancestor) + len(v.Unit)
		if v.Pod != nil {
			n += len(v.Pod.Namespace) + len(v.Pod.Name)
		}
		if v.Container != nil {
			n += len(v.Container.ID) + len(v.Container.Name) + len(v.Container.Image)
		}
	}
	return n
}

// selection is the answer to a query.
type selection struct {
	events []Event
	// entries are those of events, in the same order.
	entries []*Entry
	// next is the ID from which the next answer goes on, "" at the end.
	next string
	// matched are all events that the query asks for, on any page, newest first.
	matched []*Entry
	// gone says that the event of before is not kept.
	gone bool
}

func (q *query) run(list []*Entry, all bool) (s selection) {
	behind := q.before == ""
	victims, text := 0, 0
	for _, e := range list {
		ok := q.match(e)
		if ok {
			s.matched = append(s.matched, e)
		}
		switch {
		case e.ID == q.before:
			behind = true
		case !ok || !behind || s.next != "":
		case len(s.events) == q.limit || victims >= maxAnswer || text >= maxText:
			s.next = s.events[len(s.events)-1].ID
		default:
			out := shown(e, all)
			victims, text = victims+len(out.Victims), text+out.weight()
			s.events, s.entries = append(s.events, out), append(s.entries, e)
		}
	}
	s.gone = !behind
	return s
}
