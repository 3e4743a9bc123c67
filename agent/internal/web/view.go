package web

import (
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

const timeFormat = "2006-01-02 15:04:05"

// view is what the template shows: text that is ready, and nothing to work out.
type view struct {
	Node, Version, Now string
	All                bool
	Notices            []string // of what is not seen, or not here
	Tiles              []tile
	Query              form
	Timeline           timeline
	Rows               []row
	Matched, Kept      int
	Filtered           bool
	Older, Newest      string // links, "" for none
	Tier               string
	TierText           string
	Dropped            uint64
	Limit              int
}

type tile struct{ Value, Label string }

// form is the filters as they are set.
type form struct {
	Causes                    []option
	Since                     []option
	Namespace, Pod, Container string
	Until                     string // kept through a submit
	Here                      string // the same query as a link
}

type option struct {
	Value, Label string
	Set          bool
}

// row is one event.
type row struct {
	ID, Time, Stamp, Ago string
	Cause                oom.Cause
	Whose                string // limit, in words
	Who                  []who
	More                 string // how many victims are not among Who
	Process, Memory, Of  string
	Facts                []fact
	Victims              []victimRow
	Advice               string
}

// who is the owner of victims.
type who struct {
	Namespace, Pod, Container, Text, Link string
}

type fact struct{ Name, Value string }

type victimRow struct {
	Owner, Process, Role, RSS, Anon, File, Shmem, Score, Node string
}

var whose = map[oom.Cause]string{
	oom.CauseContainer: "limit of the container", oom.CausePod: "limit of the pod", oom.CauseAncestor: "limit above the pod",
	oom.CauseNode: "memory of the node", oom.CauseCpuset: "memory of a cpuset", oom.CauseMempolicy: "memory of a policy",
	oom.CauseSysrq: "sysrq f by an operator", oom.CauseUnknown: "not known",
}

var advice = map[oom.Cause]string{
	oom.CauseContainer: "The container used all that resources.limits.memory allows it. Raise that limit, or find what grew.",
	oom.CausePod:       "The containers of the pod together used all that the pod may have. The one that was killed need not be the one that grew: look at all of them.",
	oom.CauseAncestor:  "A cgroup above the pod was full, such as that of all pods. The pod may have been within its own limits: look at what else is in that cgroup, and at requests that are lower than use.",
	oom.CauseNode:      "The node had no memory left. The pod may have been within its limits: look for use above requests, and at what the node keeps for itself (system-reserved, kube-reserved).",
	oom.CauseCpuset:    "The NUMA nodes that the cpuset allows had no memory left, though others may have had.",
	oom.CauseMempolicy: "The NUMA nodes that the memory policy of the process allows had no memory left, though others may have had.",
	oom.CauseSysrq:     "Somebody asked the kernel to kill by sysrq f. Nothing need have been full.",
	oom.CauseUnknown:   "The programs of tier C see who was killed, and not whose limit it was. The message of the kernel's log has it.",
}

var tierText = map[string]string{
	"A": "tier A: every victim, and whose limit fired (fentry)", "B": "tier B: every victim, and whose limit fired (kprobes)",
	"C": "tier C: every victim, but not whose limit fired (tracepoints alone)",
}

func newView(c *Config, q *query, s selection, h events.Health, x Extent, now time.Time) view {
	v := view{
		Node: c.Node, Version: c.Version, Now: now.UTC().Format(timeFormat), All: c.All, Notices: notices(h, x),
		Query: newForm(q), Timeline: newTimeline(q, s.matched, now), Matched: len(s.matched), Kept: x.Events,
		Filtered: q.filtered(), Tier: h.Tier, TierText: tierText[h.Tier], Dropped: x.Dropped, Limit: MaxEvents,
		Tiles: tiles(s.matched),
	}
	for i := range s.events {
		v.Rows = append(v.Rows, newRow(q, &s.events[i], now))
	}
	if s.next != "" {
		v.Older = q.with("before", s.next)
	}
	if q.before != "" {
		v.Newest = q.with()
	}
	return v
}

// notices say what the page can't show.
func notices(h events.Health, x Extent) (list []string) {
	if h.Tier == "" {
		list = append(list, "No ledger is in the kernel, so kills are not seen at present. \"oomwitness check\" on the node says why.")
	} else if !h.Ready {
		list = append(list, "The agent does not read the ledger at present: kills of now are not here yet.")
	}
	if h.Tier == "C" {
		list = append(list, "The kernel takes the programs of tier C alone: whose limit fired is not known of these kills.")
	}
	if h.Lost > 0 {
		list = append(list, fmt.Sprintf("%s counted and could not be kept: the ledger had no room. This list is not complete.",
			wereKills(h.Lost)))
	}
	if h.Journal != "" {
		list = append(list, "The agent can't write its journal: after its next start this list may begin anew.")
	}
	if x.Dropped > 0 {
		list = append(list, fmt.Sprintf("The newest %d events are kept. %d older have made room.", x.Events, x.Dropped))
	}
	return list
}

func wereKills(n uint64) string {
	if n == 1 {
		return "1 kill was"
	}
	return fmt.Sprintf("%d kills were", n)
}

// tiles are the figures over all that the query asks for.
func tiles(matched []*Entry) []tile {
	killed, wide := 0, 0
	pods := map[events.Pod]bool{}
	for _, e := range matched {
		killed += e.Killed
		if e.Cause != oom.CauseContainer && e.Cause != oom.CausePod && e.Cause != oom.CauseUnknown {
			wide++
		}
		for i := range e.Victims {
			if p := e.Victims[i].Pod; p != nil {
				pods[events.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}] = true
			}
		}
	}
	return []tile{
		{fmt.Sprint(len(matched)), "OOM events"}, {fmt.Sprint(killed), "processes killed"},
		{fmt.Sprint(len(pods)), "pods hit"}, {fmt.Sprint(wide), "not by a limit of the pod"},
	}
}

// times are those that the form offers.
var times = []option{
	{Value: "", Label: "all that is kept"}, {Value: "15m", Label: "15 minutes"}, {Value: "1h", Label: "1 hour"}, {Value: "6h", Label: "6 hours"},
	{Value: "24h", Label: "1 day"}, {Value: "168h", Label: "1 week"},
}

func newForm(q *query) form {
	f := form{Namespace: q.namespace, Pod: q.pod, Container: q.container, Until: timeText(q.until), Here: q.with()}
	for _, s := range causes {
		f.Causes = append(f.Causes, option{Value: string(s), Label: string(s), Set: contains(q.causes, s)})
	}
	set := q.ago
	if set == "" {
		set = timeText(q.since)
	}
	offered := false
	for _, t := range times {
		t.Set = t.Value == set
		offered = offered || t.Set
		f.Since = append(f.Since, t)
	}
	if !offered {
		f.Since = append(f.Since, option{Value: set, Label: "since " + set, Set: true})
	}
	return f
}

func contains(list []oom.Cause, s oom.Cause) bool {
	for _, in := range list {
		if in == s {
			return true
		}
	}
	return false
}
