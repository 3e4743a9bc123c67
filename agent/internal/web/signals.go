package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

// maxSignals bounds the rows of containers that a signal has ended.
const maxSignals = 20

// signalRow is a container that a signal has ended, which nobody had asked containerd for.
type signalRow struct {
	Time, Stamp, Ago                    string
	Who                                 who
	Signal, Sender, SenderMore, Because string
}

// signals returns the exits by a signal that match the query, newest first. A query for the
// cause of an OOM event asks for none.
func (q *query) signals(list []exits.Exit, all bool) (found []exits.Exit) {
	if len(q.causes) > 0 {
		return nil
	}
	for i := range list {
		if e := &list[i]; e.Verdict.Ended == oom.EndedSignal && q.matchExit(e, all) {
			found = append(found, *e)
		}
	}
	slices.SortStableFunc(found, func(a, b exits.Exit) int { return b.At.Compare(a.At) })
	return found
}

// matchExit reports whether the end of a container is asked for. What is in no pod is the
// node's own.
func (q *query) matchExit(e *exits.Exit, all bool) bool {
	if !q.during(e.At) {
		return false
	}
	if e.Pod == nil {
		return all && !q.named()
	}
	return (q.namespace == "" || e.Pod.Namespace == q.namespace) && (q.pod == "" || e.Pod.Name == q.pod) &&
		(q.container == "" || e.Pod.Container == q.container)
}

// newSignalRows returns the rows of the newest of the exits.
func newSignalRows(q *query, found []exits.Exit, all bool, now time.Time) (rows []signalRow) {
	d := collect.Build(collect.Query{}, &collect.Sources{Exits: found[:min(len(found), maxSignals)]}, now)
	if !all {
		forOwner(&d)
	}
	for i := range d.Runs {
		rows = append(rows, newSignalRow(q, &d.Runs[i], all, now))
	}
	return rows
}

// newSignalRow returns the row of a run. Of the sender, which is a process of the node,
// all but the name is the node's own.
func newSignalRow(q *query, r *why.Run, all bool, now time.Time) signalRow {
	s := signalRow{
		Time: r.EndedAt.Format(rowTime), Stamp: r.EndedAt.Format(time.RFC3339), Ago: ago(now.Sub(*r.EndedAt)),
		Signal: cmp.Or(why.SignalOfStatus(*r.Status), "a signal"),
	}
	if p := r.Pod; p != nil {
		s.Who = who{
			Namespace: events.Clean(p.Namespace), Pod: events.Clean(p.Name), Container: events.Clean(r.Container.Name),
			Link: q.with("namespace", p.Namespace, "pod", p.Name, "container", ""),
		}
	} else {
		s.Who.Text = "container " + events.Clean(r.Container.ID)
	}
	for _, m := range r.Missing {
		if m.Field == "sender" {
			s.Because = m.Because
		}
	}
	if r.Sender != nil {
		s.Sender = events.Clean(r.Sender.Comm)
		if all {
			s.SenderMore = senderOnNode(r.Sender)
		}
	}
	return s
}

func senderOnNode(p *why.Process) string {
	var list []string
	if p.PID != 0 {
		list = append(list, fmt.Sprintf("PID %d", p.PID))
	}
	if p.UID != nil {
		list = append(list, fmt.Sprintf("UID %d", *p.UID))
	}
	if p.Cgroup != "" {
		list = append(list, "in "+events.Clean(p.Cgroup))
	}
	return strings.Join(list, ", ")
}
