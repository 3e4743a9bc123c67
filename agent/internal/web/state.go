package web

import (
	"fmt"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

// state says in words for people what the agent sees at present.
type state struct{ Class, Text, More string }

// Sees reports whether new OOM kills are seen.
func (s state) Sees() bool { return s.Class != classOff }

// Classes of a state: everything is seen, a part, nothing.
const (
	classOn, classPart, classOff = "on", "part", "off"
)

const (
	tierC     = "C" // sees the victims alone
	seeDmesg  = "The kernel's log (dmesg) names the limit."
	seeChecks = `"oomwitness check" on the node gives the reason.`
)

func stateOf(h events.Health) state {
	switch {
	case h.Tier == "":
		return state{classOff, "Not recording", "no ledger is loaded, so new OOM kills are not seen"}
	case !h.Ready:
		return state{classPart, "Recorded, but not read", "the agent does not read the ledger at present"}
	case h.Tier == tierC:
		return state{classPart, "Recording OOM kills", "but not whose limit was reached, which this kernel does not show"}
	default:
		return state{classOn, "Recording OOM kills", "each with the limit that was reached"}
	}
}

// notices say what the page cannot show.
func notices(h events.Health, x Extent) (list []string) {
	switch {
	case h.Tier == "":
		list = append(list, "No ledger is loaded in the kernel. OOM kills that happen now are not seen. "+seeChecks)
	case !h.Ready:
		list = append(list, "The agent does not read the ledger at present. The newest OOM kills are not here yet.")
	}
	if h.Tier == tierC {
		list = append(list, "The kernel of this node shows who was killed, and not whose limit was reached. "+seeDmesg)
	}
	if h.Lost > 0 {
		list = append(list, fmt.Sprintf("%s counted and could not be kept, because the ledger had no room. The list is not complete.",
			wereKills(h.Lost)))
	}
	if h.Journal != "" {
		list = append(list, "The agent cannot write its journal. After the next start of the agent the list may begin anew.")
	}
	if h.Exits != "" {
		list = append(list, "The agent cannot read or keep the ends of containers. Senders of signals may be missing.")
	}
	if x.Dropped > 0 {
		list = append(list, fmt.Sprintf("The newest %d events are kept. %d older events have made room.", x.Events, x.Dropped))
	}
	return list
}

func wereKills(n uint64) string {
	if n == 1 {
		return "1 kill was"
	}
	return fmt.Sprintf("%d kills were", n)
}

// seen is the heading of the events.
func seen(h events.Health) string {
	if h.Tier == "" {
		return "OOM events from before the recording stopped"
	}
	return "OOM events"
}

// none is the text of a page without events.
type none struct{ Heading, Text string }

func noneOf(h events.Health) none {
	switch {
	case h.Tier == "":
		return none{"No OOM kill is known", "Nothing is recorded at present. So this page does not say that there was none. " + seeChecks}
	case !h.Ready:
		return none{"No OOM kill is known yet", "The ledger records OOM kills, and the agent does not read the ledger at present."}
	case h.Lost > 0:
		return none{"No OOM kill is on record", wereKills(h.Lost) + " counted and could not be kept."}
	default:
		return none{"No OOM kill so far", "The kernel has killed nothing on this node for want of memory since the agent's history began. The next OOM kill appears here within seconds."}
	}
}

type tile struct{ Value, Label string }

// tiles are the figures over all events that match the query. A figure that may be too low says
// so, and a figure that nobody knows has no number.
func tiles(matched []*Entry, signals int, h events.Health, x Extent) []tile {
	killed, others, unknown := 0, 0, 0
	pods := map[events.Pod]bool{}
	for _, e := range matched {
		killed += e.Killed
		switch e.Cause {
		case oom.CauseContainer, oom.CausePod:
		case oom.CauseUnknown:
			unknown++
		default:
			others++
		}
		for i := range e.Victims {
			if p := e.Victims[i].Pod; p != nil {
				pods[events.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}] = true
			}
		}
	}
	short := h.Lost > 0 || x.Dropped > 0 // the list is not complete
	list := []tile{
		{figure(len(matched), short), nounOf(len(matched), "OOM event")},
		{figure(killed, short), nounOf(killed, "process", "processes") + " killed"},
		{figure(len(pods), short), nounOf(len(pods), "pod") + " hit"},
		{figure(others, short || unknown > 0), "by a full node, or a limit above the pod"},
	}
	if len(matched) > 0 && unknown == len(matched) {
		list[3] = tile{"not known", "whose limit was reached"}
	}
	if signals > 0 {
		list = append(list, tile{fmt.Sprint(signals), nounOf(signals, "container") + " ended by a signal"})
	}
	return list
}

func figure(n int, short bool) string {
	if short {
		return fmt.Sprintf("≥ %d", n)
	}
	return fmt.Sprint(n)
}

// nounOf returns the noun for a number of things: plural, or else the noun with an s.
func nounOf(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
		return noun
	case len(plural) > 0:
		return plural[0]
	default:
		return noun + "s"
	}
}
