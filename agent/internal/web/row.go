package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why/text"
)

// maxWho bounds the owners named in a row; all are in the evidence.
const maxWho = 3

// newRow returns the row of an event. memory is what filled the memory, nil if that is not
// known.
func newRow(q *query, e *Event, memory *oom.Memory, now time.Time) row {
	if !e.sized {
		memory = nil
	}
	r := row{
		ID: e.ID, Time: e.Time.UTC().Format(rowTime), Stamp: e.Time.UTC().Format(time.RFC3339), Ago: ago(now.Sub(e.Time)),
		Cause: e.Cause, Advice: advice[e.Cause], Facts: facts(e), Filled: newFilled(memory, e.Victims),
	}
	seen := map[who]bool{}
	for i := range e.Victims {
		v := &e.Victims[i]
		r.Victims = append(r.Victims, newVictimRow(v))
		if w := whoOf(q, v); !seen[w] {
			seen[w] = true
			if len(r.Who) < maxWho {
				r.Who = append(r.Who, w)
			}
		}
	}
	var more []string
	if n := len(seen) - len(r.Who); n > 0 {
		more = append(more, fmt.Sprintf("%d more", n))
	}
	if e.Hidden > 0 {
		more = append(more, hidden(e.Hidden))
	}
	r.More = strings.Join(more, ", ")
	r.Process, r.Memory = "–", "–"
	if len(e.Victims) > 0 {
		first := &e.Victims[0]
		r.Process = events.Clean(first.Comm)
		r.Memory = size(first.Memory.RSS)
	}
	if e.Killed > 1 {
		r.Process += fmt.Sprintf(" +%d", e.Killed-1)
		if len(e.Victims) == 0 {
			r.Process = "–"
		}
	}
	r.Of = size(e.SizeBytes)
	return r
}

func hidden(n int) string {
	if n == 1 {
		return "1 process outside pods"
	}
	return fmt.Sprintf("%d processes outside pods", n)
}

func whoOf(q *query, v *events.Victim) who {
	if v.Pod == nil {
		return who{Text: outside(v)}
	}
	w := who{Namespace: events.Clean(v.Pod.Namespace), Pod: events.Clean(v.Pod.Name)}
	if v.Container != nil {
		w.Container = events.Clean(v.Container.Name)
	}
	if w.Pod == "" {
		w.Text = "pod " + events.Clean(v.Pod.UID)
		return w
	}
	w.Link = q.with("namespace", v.Pod.Namespace, "pod", v.Pod.Name, "container", "")
	return w
}

// outside names what is in no pod, as the node's owner knows it.
func outside(v *events.Victim) string {
	switch {
	case v.Unit != "":
		return events.Clean(v.Unit)
	case v.Container != nil && v.Container.Image != "":
		return events.Clean(v.Container.ID + " " + v.Container.Image)
	case v.Container != nil:
		return events.Clean(v.Container.ID)
	case v.Cgroup.Path != "":
		return events.Clean(v.Cgroup.Path)
	default:
		return "outside pods"
	}
}

func newVictimRow(v *events.Victim) victimRow {
	r := victimRow{
		Owner: outside(v), Process: events.Clean(v.Comm), Role: role(v), RSS: size(v.Memory.RSS), Anon: size(v.Memory.Anon),
		File: size(v.Memory.File), Shmem: size(v.Memory.Shmem), Score: fmt.Sprint(v.OOMScoreAdj),
	}
	if v.Pod != nil {
		w := whoOf(&query{}, v)
		r.Owner = w.Text
		if w.Text == "" {
			r.Owner = w.Namespace + "/" + w.Pod
		}
		if w.Container != "" {
			r.Owner += "/" + w.Container
		}
	}
	if v.IDs != (events.IDs{}) {
		r.Node = fmt.Sprintf("PID %d, UID %d", v.PID, v.UID)
		if v.Cgroup.Path != "" {
			r.Node += ", " + events.Clean(v.Cgroup.Path)
		}
	}
	return r
}

// role is what distinguishes a victim from any process of its container.
func role(v *events.Victim) string {
	var words []string
	if v.Init {
		words = append(words, "init")
	}
	if v.SharedMemory {
		words = append(words, "shared the memory")
	}
	if v.OOMGroup {
		words = append(words, "group kill")
	}
	if len(words) == 0 {
		return "–"
	}
	return strings.Join(words, ", ")
}

func facts(e *Event) []fact {
	list := []fact{
		{"What was full", whose[e.Cause] + sizes(e)}, {"The ledger saw", orElse(tierText[e.Tier], "tier "+events.Clean(e.Tier))},
		{"Event", e.ID},
	}
	if text := candidatesText(e); text != "" {
		list = append(list, fact{"Largest processes then", text})
	}
	if d := e.Domain; d != nil {
		text := "constraint " + d.Constraint
		if d.Path != "" {
			text += ", cgroup " + events.Clean(d.Path)
		}
		list = append(list, fact{"In the kernel's words", fmt.Sprintf("%s, order %d, badness %d pages", text, d.Order, d.Points)})
	}
	if e.Trigger != nil {
		list = append(list, fact{"Who asked for memory", fmt.Sprintf("%s, PID %d", events.Clean(e.Trigger.Comm), e.Trigger.PID)})
	}
	if e.Hidden > 0 {
		list = append(list, fact{"Not shown", hidden(e.Hidden) + " (the agent's --page-all shows them)"})
	}
	if e.Omitted > 0 {
		list = append(list, fact{"Not kept", plural(e.Omitted, "further victim")})
	}
	return list
}

// candidatesText names the largest processes that the OOM killer looked at.
func candidatesText(e *Event) string {
	var parts []string
	for _, c := range e.Candidates {
		parts = append(parts, events.Clean(c.Comm)+" "+events.Size(c.RSS+c.Swap))
	}
	return strings.Join(parts, ", ")
}

func sizes(e *Event) string {
	var said string
	if e.LimitBytes != nil {
		said += ", limit " + events.Size(*e.LimitBytes)
	}
	if e.SizeBytes != nil && (e.LimitBytes == nil || *e.LimitBytes != *e.SizeBytes) {
		said += ", " + events.Size(*e.SizeBytes) + " with swap"
	}
	if e.UsageBytes != nil {
		said += ", at most " + events.Size(*e.UsageBytes) + " used"
	}
	return said
}

func size(bytes *uint64) string {
	if bytes == nil {
		return "–"
	}
	return events.Size(*bytes)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// ago is how long ago something was, as people say it.
func ago(d time.Duration) string {
	if d < time.Second {
		return "now"
	}
	return text.Ago(d) + " ago"
}
