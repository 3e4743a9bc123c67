package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

// maxTop bounds the workloads that are shown.
const maxTop = 5

// topRow is a container of a workload with its killed processes.
type topRow struct {
	Namespace, Workload, Container, Pods, Link, Width string
	Kills                                             int

	pods int
	pod  string // if it is the only one
}

// topWorkloads returns the workloads with the most killed processes, and how many others
// have some. The counts are those of /api/v1/top, over the events that match the query.
func topWorkloads(q *query, matched []*Entry, now time.Time) ([]topRow, int) {
	s := &collect.Sources{}
	for _, e := range matched {
		s.Events = append(s.Events, q.refs(e))
	}
	rows := byWorkload(collect.Top(s, time.Time{}, now).Rows)
	others := max(0, len(rows)-maxTop)
	rows = rows[:len(rows)-others]
	for i := range rows {
		r := &rows[i]
		r.Width = fmt.Sprintf("%.1f", 100*float64(r.Kills)/float64(rows[0].Kills))
		r.Link = q.with("namespace", r.Namespace, "pod", r.pod, "container", r.Container)
		r.Pods = "in " + plural(r.pods, "pod")
		r.Namespace, r.Workload, r.Container = events.Clean(r.Namespace), events.Clean(r.Workload), events.Clean(r.Container)
	}
	return rows, others
}

// refs returns the containers of the victims that are asked for.
func (q *query) refs(e *Entry) collect.Event {
	c := collect.Event{OOMEvent: why.OOMEvent{Time: e.Time, Cause: string(e.Cause)}}
	for i := range e.Victims {
		v := &e.Victims[i]
		if v.Pod == nil || v.Pod.Name == "" || !q.matchVictim(*v) {
			continue
		}
		of := collect.Ref{Pod: &why.Pod{Namespace: v.Pod.Namespace, Name: v.Pod.Name}}
		if v.Container != nil {
			of.Name = v.Container.Name
		}
		c.Of = append(c.Of, of)
	}
	return c
}

// byWorkload joins the rows of pods, by the names that controllers give to pods.
func byWorkload(counts []why.Count) []topRow {
	index := map[[3]string]*topRow{}
	for i := range counts {
		c := &counts[i]
		if c.Kills == 0 {
			continue
		}
		name := why.GuessWorkload(c.Pod)
		key := [3]string{c.Namespace, name, c.Container}
		r := index[key]
		if r == nil {
			r = &topRow{Namespace: c.Namespace, Workload: name, Container: c.Container, pod: c.Pod}
			index[key] = r
		} else {
			r.pod = ""
		}
		r.pods++
		r.Kills += c.Kills
	}
	rows := make([]topRow, 0, len(index))
	for _, r := range index {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b topRow) int {
		return cmp.Or(cmp.Compare(b.Kills, a.Kills), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload),
			cmp.Compare(a.Container, b.Container))
	})
	return rows
}
