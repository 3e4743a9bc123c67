package collect

import (
	"cmp"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

// counter counts in pods alone: what is the node's own is a number.
type counter struct {
	top   why.Top
	since time.Time
	rows  map[[3]string]*why.Count
}

// Top counts what ended and what was killed since a time.
func Top(s *Sources, since, now time.Time) why.Top {
	c := counter{since: since, rows: map[[3]string]*why.Count{}, top: why.Top{
		Schema: why.Schema, Time: now.UTC().Truncate(time.Second), Node: s.Node, Since: since.UTC(), Rows: []why.Count{},
	}}
	for i := range s.Exits {
		c.exit(&s.Exits[i])
	}
	for i := range s.Events {
		c.event(&s.Events[i])
	}
	for _, row := range c.rows {
		c.top.Rows = append(c.top.Rows, *row)
	}
	slices.SortFunc(c.top.Rows, most)
	if n := len(c.top.Rows); n > why.MaxRows {
		c.top.Omitted, c.top.Rows = n-why.MaxRows, c.top.Rows[:why.MaxRows]
	}
	return c.top
}

func (c *counter) exit(e *exits.Exit) {
	row := c.row(podOf(e.Pod), containerName(e.Pod), e.At)
	if row == nil {
		return
	}
	row.Ended++
	if e.Verdict.OOMKilled {
		row.OOM++
	}
	if m := e.Memory; m != nil && m.Peak != nil && (row.Peak == nil || *m.Peak > *row.Peak) {
		row.Peak, row.Limit = m.Peak, m.Limit
	}
}

func (c *counter) event(e *Event) {
	for _, of := range e.Of {
		row := c.row(of.Pod, of.Name, e.Time)
		if row == nil {
			continue
		}
		row.Kills++
		if row.Last == nil || e.Time.After(*row.Last) {
			row.Last, row.Cause = new(e.Time.UTC()), e.Cause
		}
	}
}

// row returns the row to count in, nil for what is too old or the node's own.
func (c *counter) row(pod *why.Pod, container string, at time.Time) *why.Count {
	if c.top.Kept == nil || at.Before(*c.top.Kept) {
		c.top.Kept = new(at.UTC())
	}
	switch {
	case at.Before(c.since):
		return nil
	case pod == nil || pod.Name == "":
		c.top.Hidden++
		return nil
	}
	key := [3]string{pod.Namespace, pod.Name, container}
	if c.rows[key] == nil {
		c.rows[key] = &why.Count{Namespace: pod.Namespace, Pod: pod.Name, Container: container}
	}
	return c.rows[key]
}

// most orders rows: the most OOM kills first.
func most(a, b why.Count) int {
	return cmp.Or(cmp.Compare(b.OOM, a.OOM), cmp.Compare(b.Kills, a.Kills), cmp.Compare(b.Ended, a.Ended),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
}
