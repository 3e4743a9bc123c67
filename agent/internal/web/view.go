package web

import (
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

const (
	timeFormat = "2006-01-02 15:04:05"
	rowTime    = "Jan 2 15:04:05"
)

// view is what the template shows: text that is ready, and nothing to work out.
type view struct {
	Node, Version, Now, Stamp string
	Refresh                   int // seconds
	All                       bool
	State                     state
	Notices                   []string // of what is not seen, or not here
	Seen                      string   // heading of the events
	Tiles                     []tile
	Query                     form
	Suggest                   []suggestions
	Timeline                  timeline
	Top                       []topRow
	TopMore                   string
	Rows                      []row
	None                      none
	Learn                     bool // show what the causes mean
	Signals                   []signalRow
	SignalsCount              int
	Matched, Kept             int
	Filtered                  bool
	Older, Newest             string // links, "" for none
	Limit                     int
}

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
	Who                  []who
	More                 string // how many victims are not among Who
	Process, Memory, Of  string
	Filled               *filled // nil if it is not known
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
	oom.CauseContainer: "the container's own limit", oom.CausePod: "the pod's limit", oom.CauseAncestor: "the limit of a cgroup above the pod",
	oom.CauseNode: "the memory of the node", oom.CauseCpuset: "the memory of the NUMA nodes of a cpuset",
	oom.CauseMempolicy: "the memory of the NUMA nodes of a memory policy",
	oom.CauseSysrq:     "nothing: an operator asked for the kill by sysrq f", oom.CauseUnknown: "not known",
}

var advice = map[oom.Cause]string{
	oom.CauseContainer: "The container used all the memory that resources.limits.memory allows. Raise the limit, or find what grew.",
	oom.CausePod:       "The containers of the pod together used all the memory that the pod may have. The killed container may not be the one that grew: look at all containers of the pod.",
	oom.CauseAncestor:  "A cgroup above the pod was full, such as the cgroup of all pods. The pod may have been within its own limits. Look at what else is in that cgroup, and for pods that use more than they request.",
	oom.CauseNode:      "The node had no memory left. The pod may have been within its limits. Look for pods that use more than they request, and at what the node keeps for itself (system-reserved, kube-reserved).",
	oom.CauseCpuset:    "The NUMA nodes that the cpuset allows had no memory left. Other NUMA nodes may have had some.",
	oom.CauseMempolicy: "The NUMA nodes that the memory policy of the process allows had no memory left. Other NUMA nodes may have had some.",
	oom.CauseSysrq:     "An operator asked the kernel for this kill by sysrq f. Nothing need have been full.",
	oom.CauseUnknown:   "The kernel showed who was killed, and not whose limit was reached. The kernel's log (dmesg) names the limit.",
}

// tierText says how much the ledger sees in each tier.
var tierText = map[string]string{
	"A": "every kill with the limit that was reached (tier A, by fentry)",
	"B": "every kill with the limit that was reached (tier B, by kprobes)",
	"C": "every kill without the limit that was reached (tier C, by tracepoints)",
}

// newView returns what the page shows of a selection. ended are the ends of containers.
func newView(c *Config, q *query, s selection, ended []exits.Exit, now time.Time) view {
	h, x := c.Health(), c.History.Extent()
	signals := q.signals(ended, c.All)
	v := view{
		Node: c.Node, Version: c.Version, Now: now.UTC().Format(timeFormat), Stamp: now.UTC().Format(time.RFC3339),
		Refresh: max(1, int(c.Refresh/time.Second)), All: c.All, State: stateOf(h), Notices: notices(h, x), Seen: seen(h),
		Query: newForm(q), Suggest: suggest(q, c.History.Newest(), ended), Timeline: newTimeline(q, s.matched, now),
		Matched: len(s.matched), Kept: x.Events, Filtered: q.filtered(), Limit: MaxEvents,
		None: noneOf(h), Learn: h.Tier != tierC && h.Tier != "",
		Tiles: tiles(s.matched, len(signals), h, x), SignalsCount: len(signals), Signals: newSignalRows(q, signals, c.All, now),
	}
	var others int
	if v.Top, others = topWorkloads(q, s.matched, now); others > 0 {
		v.TopMore = fmt.Sprintf("and %d more: api/v1/top has all", others)
	}
	for i := range s.events {
		v.Rows = append(v.Rows, newRow(q, &s.events[i], s.entries[i].Memory, now))
	}
	if s.next != "" {
		v.Older = q.with("before", s.next)
	}
	if q.before != "" {
		v.Newest = q.with()
	}
	return v
}

// times are those that the form offers.
var times = []option{
	{Value: "", Label: "all that is kept"}, {Value: "15m", Label: "the last 15 minutes"}, {Value: "1h", Label: "the last hour"}, {Value: "6h", Label: "the last 6 hours"},
	{Value: "24h", Label: "the last day"}, {Value: "168h", Label: "the last week"},
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
