package web

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

// defaultTop is the time over which /api/v1/top counts, unless since is given.
const defaultTop = 24 * time.Hour

// sources are what the agent knows.
func (s *server) sources() *collect.Sources {
	c := &collect.Sources{Node: s.Node, Source: why.SourceAgent}
	if s.Exits != nil {
		c.Exits = s.Exits()
	} else {
		c.NoExits = "this agent keeps no exits"
	}
	h := s.Health()
	if h.Tier == "" {
		c.NoEvents = "no ledger is in force"
	}
	if h.Tier == "C" {
		c.Detail = "a ledger of tier C does not see it"
	}
	for _, e := range slices.Backward(s.History.Newest()) {
		one := e.Why()
		one.Killed = e.Killed
		c.Events = append(c.Events, one)
	}
	return c
}

// why answers with the document of what is asked for.
func (s *server) why(b *body, r *http.Request) {
	q, err := parseWhy(r.URL.RawQuery)
	if err != nil {
		refuse(b, http.StatusBadRequest, lines(err))
		return
	}
	q.InPods = !s.All
	d := collect.Build(q, s.sources(), time.Now())
	if !s.All {
		forOwner(&d)
	}
	asJSON(b, http.StatusOK, d)
}

// parseWhy reads the parameters of /api/v1/why.
func parseWhy(raw string) (q collect.Query, err error) {
	fields := map[string]*string{"namespace": &q.Namespace, "pod": &q.Pod, "container": &q.Container, "id": &q.ID}
	err = parseParameters(raw, slices.Sorted(maps.Keys(fields)), func(name, value string) (err error) {
		*fields[name], err = checkText(value, maxName)
		return err
	})
	return q, err
}

// forOwner leaves in a document of runs in pods what the owner of a pod may know. Processes that the OOM killer looked at outside of the pod are others'. Of the
// sender of a signal the owner may know the name, as the Event on the pod has it.
func forOwner(d *why.Document) {
	for i := range d.Runs {
		r := &d.Runs[i]
		r.PID = 0
		if r.Sender != nil {
			r.Sender = &why.Process{Kernel: r.Sender.Kernel, Comm: r.Sender.Comm, At: r.Sender.At}
			r.Advise() // the advice names the sender
		}
		if r.OOM != nil {
			r.OOM = forOwnerOf(r)
		}
	}
}

// forOwnerOf returns the OOM event of a run as forOwner leaves it, and adds to the run what
// is not shown.
func forOwnerOf(r *why.Run) *why.OOMEvent {
	e := *r.OOM
	if e.LimitOf != "" {
		r.Lacks("cause", "the agent names a cgroup outside of the pod with --page-all alone")
		e.LimitOf = ""
	}
	e.Victims = slices.Clone(e.Victims)
	for j := range e.Victims {
		v := &e.Victims[j]
		v.Init = v.Init || v.Lineage == "init"
		v.PID = 0
	}
	if e.Cause != "container" && e.Cause != "pod" && len(e.Candidates) > 0 {
		e.Candidates = nil
		r.Lacks("candidates", "the agent shows processes outside of the pod with --page-all alone")
	}
	e.Candidates = slices.Clone(e.Candidates) // other documents have the same
	for j := range e.Candidates {
		e.Candidates[j].PID = 0
	}
	return &e
}

// top answers with counts by container.
func (s *server) top(b *body, r *http.Request) {
	now := time.Now()
	since := now.Add(-defaultTop)
	err := parseParameters(r.URL.RawQuery, []string{"since"}, func(_, value string) (err error) {
		since, _, err = parseTime(value, now)
		return err
	})
	if err != nil {
		refuse(b, http.StatusBadRequest, lines(err))
		return
	}
	top := collect.Top(s.sources(), since, now)
	top.CompleteSince, top.Lost = s.completeSince(), s.Health().Lost
	asJSON(b, http.StatusOK, top)
}

// completeSince returns the time since which no OOM event and no exit is missing, nil where
// that is not known.
func (s *server) completeSince() *time.Time {
	since := s.History.Extent().Complete
	if s.ExitsMissing != nil && !since.IsZero() && s.ExitsMissing().After(since) {
		since = s.ExitsMissing()
	}
	return known(since)
}

// known returns a time, nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

// status answers with the state of the agent.
func (s *server) status(b *body, _ *http.Request) {
	h := s.Health()
	status := why.Status{
		Schema: why.Schema, Time: time.Now().UTC().Truncate(time.Second), Node: s.Node, Version: s.Version,
		KubeletCgroupRoot: h.Roots.Paths, KubeletCgroupRootSource: string(h.Roots.Source),
		Ready: h.Ready, Why: h.Why, Tier: h.Tier, Lost: h.Lost, Events: s.History.Extent().Events,
		Without: without(&h),
	}
	if s.Exits != nil {
		status.Exits = len(s.Exits())
	}
	asJSON(b, http.StatusOK, status)
}
