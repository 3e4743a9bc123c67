package collect

import (
	"cmp"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/why"
)

// Top counts what ended and what was killed since a time, in pods alone: what is the
// node's own is a number.
func Top(s *Sources, since, now time.Time) why.Top {
	top := why.Top{Schema: why.Schema, Time: now.UTC().Truncate(time.Second), Node: s.Node, Since: since.UTC(), Rows: []why.Count{}}
	rows := map[[3]string]*why.Count{}
	row := func(pod *why.Pod, container string, at time.Time) *why.Count {
		if top.Kept == nil || at.Before(*top.Kept) {
			top.Kept = new(at.UTC())
		}
		switch {
		case at.Before(since):
			return nil
		case pod == nil || pod.Name == "":
			top.Hidden++
			return nil
		}
		key := [3]string{pod.Namespace, pod.Name, container}
		if rows[key] == nil {
			rows[key] = &why.Count{Namespace: pod.Namespace, Pod: pod.Name, Container: container}
		}
		return rows[key]
	}
	for i := range s.Exits {
		e := &s.Exits[i]
		if c := row(podOf(e.Pod), containerName(e.Pod), e.At); c != nil {
			c.Ended++
			if e.Verdict.OOMKilled {
				c.OOM++
			}
			if m := e.Memory; m != nil && m.Peak != nil && (c.Peak == nil || *m.Peak > *c.Peak) {
				c.Peak, c.Limit = m.Peak, m.Limit
			}
		}
	}
	for i := range s.Events {
		e := &s.Events[i]
		for _, of := range e.Of {
			if c := row(of.Pod, of.Name, e.Time); c != nil {
				c.Kills++
				if c.Last == nil || e.Time.After(*c.Last) {
					c.Last, c.Cause = new(e.Time.UTC()), e.Cause
				}
			}
		}
	}
	for _, c := range rows {
		top.Rows = append(top.Rows, *c)
	}
	slices.SortFunc(top.Rows, most)
	if len(top.Rows) > why.MaxRows {
		top.Omitted = len(top.Rows) - why.MaxRows
		top.Rows = top.Rows[:why.MaxRows]
	}
	return top
}

// most orders rows: the most OOM kills first.
func most(a, b why.Count) int {
	return cmp.Or(cmp.Compare(b.OOM, a.OOM), cmp.Compare(b.Kills, a.Kills), cmp.Compare(b.Ended, a.Ended),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container))
}
