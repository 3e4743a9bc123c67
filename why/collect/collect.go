// Package collect makes the document of package why from what a node has: the exits in
// the spool or in the agent's store, the containers that run, and OOM events.
package collect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

// Query says which containers are asked for. Empty fields stand for all.
type Query struct {
	// Namespace and Pod are Kubernetes' names, Container is the container's name there.
	Namespace, Pod, Container string
	// ID is the beginning of a container's ID.
	ID string
	// Any is the beginning of a container's ID, or the name of a pod.
	Any string
	// InPods leaves out containers in no pod.
	InPods bool
}

// matches reports whether a container is asked for.
func (q *Query) matches(id string, pod *why.Pod, name string) bool {
	if q.Any != "" && !strings.HasPrefix(id, q.Any) && (pod == nil || pod.Name != q.Any) {
		return false
	}
	if !strings.HasPrefix(id, q.ID) || q.InPods && pod == nil {
		return false
	}
	if q.Namespace == "" && q.Pod == "" && q.Container == "" {
		return true
	}
	return pod != nil && (q.Namespace == "" || pod.Namespace == q.Namespace) && (q.Pod == "" || pod.Name == q.Pod) &&
		(q.Container == "" || name == q.Container)
}

// Event is an OOM event with the container of each victim.
type Event struct {
	why.OOMEvent
	// Of are the containers of Victims, in the same order.
	Of []Ref
}

// Ref names a container, as far as it is known.
type Ref struct {
	ID   string
	Name string
	Pod  *why.Pod
}

// Running is a container that runs.
type Running struct {
	Ref
	Image string
	PID   int
}

// Sources are what a document is made of.
type Sources struct {
	Node, Source string
	Notes        []string
	Exits        []exits.Exit
	// Logged are exits by their verdicts in containerd's log, which has less of them.
	Logged  []exits.Exit
	Running []Running
	Events  []Event
	// NoExits and NoEvents say why exits and OOM events are not known at all; "" where
	// they are.
	NoExits, NoEvents string
	// Detail says why an OOM event lacks the kinds of memory and the candidates.
	Detail string
}

// Build returns the document that answers a query.
func Build(q Query, s *Sources, now time.Time) why.Document {
	d := why.Document{Schema: why.Schema, Time: now.UTC().Truncate(time.Second), Node: s.Node, Source: s.Source, Notes: s.Notes}
	known := map[string]bool{} // containers with an exit or a process
	for i := range s.Exits {
		e := &s.Exits[i]
		if pod := podOf(e.Pod); q.matches(e.ID, pod, containerName(e.Pod)) {
			known[e.ID] = true
			d.Runs = append(d.Runs, s.exitRun(e, now))
		}
	}
	d.Runs = append(d.Runs, s.loggedRuns(q, known, now)...)
	for i := range s.Running {
		r := &s.Running[i]
		if q.matches(r.ID, r.Pod, r.Name) {
			known[r.ID] = true
			d.Runs = append(d.Runs, s.runningRun(r))
		}
	}
	d.Runs = append(d.Runs, s.eventRuns(q, known)...)
	why.Sort(d.Runs)
	d.Runs, d.Omitted = why.Bound(d.Runs)
	for i := range d.Runs {
		d.Runs[i].Advise()
	}
	return d
}

func podOf(p *exits.Pod) *why.Pod {
	if p == nil {
		return nil
	}
	return &why.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

func containerName(p *exits.Pod) string {
	if p == nil {
		return ""
	}
	return p.Container
}

// loggedRuns returns the runs of containers of which nothing better is known than what the
// log says. The log has no pods: an OOM event may name the container's.
func (s *Sources) loggedRuns(q Query, known map[string]bool, now time.Time) (runs []why.Run) {
	const because = "containerd's log does not have it"
	found := map[string]bool{}
	for i := range s.Logged {
		e := s.Logged[i]
		if of := s.named(e.ID); of != nil && of.Pod != nil {
			e.Pod = &exits.Pod{Namespace: of.Pod.Namespace, Name: of.Pod.Name, UID: of.Pod.UID, Container: of.Name}
		}
		if known[e.ID] || !q.matches(e.ID, podOf(e.Pod), containerName(e.Pod)) {
			continue
		}
		found[e.ID] = true
		runs = append(runs, s.exitRun(&e, now, why.Missing{Field: "limit_bytes", Because: because}, why.Missing{Field: "peak_bytes", Because: because},
			why.Missing{Field: "last_day", Because: because}))
		runs[len(runs)-1].Recent = nil
	}
	maps.Copy(known, found)
	return runs
}

// named returns the names of a container, nil if no OOM event has them.
func (s *Sources) named(id string) *Ref {
	for i := range s.Events {
		for j := range s.Events[i].Of {
			if of := &s.Events[i].Of[j]; of.ID == id {
				return of
			}
		}
	}
	return nil
}

// exitRun returns the run of an exit. missing are what is known not to be known.
func (s *Sources) exitRun(e *exits.Exit, now time.Time, missing ...why.Missing) why.Run {
	at := e.At.UTC()
	r := why.Run{
		Missing: missing,
		Pod:     podOf(e.Pod), Container: why.Container{ID: e.ID, Namespace: e.Namespace}, PID: e.Pid,
		EndedAt: &at, Verdict: verdictOf(e), Memory: memoryOf(e.Memory),
	}
	if e.Pod != nil {
		r.Container.Name, r.Container.Image = e.Pod.Container, e.Pod.Image
	}
	if e.StatusUnknown {
		if v := &e.Verdict; v.Rule == oom.RuleNothingKnown || v.Rule == oom.RuleExec { // decided by the status
			r.Verdict = nil
			r.Lacks("verdict", "the shim died before the container, and no OOM kill explains the end")
		}
		r.Lacks("exit_status", fmt.Sprintf("the shim died before the container: containerd was given %d", e.Reported))
	} else {
		r.Status = &e.Status
	}
	if e.Reported != e.Status || e.StatusUnknown {
		r.Reported = &e.Reported
	}
	for _, signal := range e.Stops {
		r.Signals = append(r.Signals, why.SignalName(signal))
	}
	sender(&r, e)
	r.OOM = eventOf(e)
	s.addEvent(&r, at)
	limitOf(&r, &e.Verdict)
	s.addRecent(&r, e, now)
	switch {
	case e.InBundle:
		r.Lacks("limit_bytes", "the record in the bundle does not have it")
		r.Lacks("peak_bytes", "the record in the bundle does not have it")
	case e.Memory == nil:
		r.Lacks("limit_bytes", "the cgroup was gone before its metrics were read")
		r.Lacks("peak_bytes", "the cgroup was gone before its metrics were read")
	case e.Memory.Peak == nil:
		r.Lacks("peak_bytes", "memory.peak was not there (Linux before 5.19 has none, and a removed cgroup has none)")
	}
	r.Lacks("request_bytes", "the API server was not asked")
	return r
}

func (s *Sources) runningRun(c *Running) why.Run {
	r := why.Run{
		Pod: c.Pod, Container: why.Container{ID: c.ID, Name: c.Name, Image: c.Image}, Running: true, PID: c.PID,
	}
	s.addEvent(&r, time.Time{})
	return r
}

// eventRuns returns the runs of containers of which OOM events alone are known.
func (s *Sources) eventRuns(q Query, known map[string]bool) (runs []why.Run) {
	for i := range slices.Backward(s.Events) {
		e := &s.Events[i]
		for _, of := range e.Of {
			if of.ID == "" || known[of.ID] || !q.matches(of.ID, of.Pod, of.Name) {
				continue
			}
			known[of.ID] = true
			r := why.Run{Pod: of.Pod, Container: why.Container{ID: of.ID, Name: of.Name}}
			because := cmp.Or(s.NoExits, "the container does not run under oomwitness's shim, or its exit is older than what the node keeps")
			r.Lacks("verdict", because)
			for _, field := range []string{"exit_status", "limit_bytes", "request_bytes", "peak_bytes", "last_day"} {
				r.Lacks(field, "without the shim only the kernel's record of the OOM event is known")
			}
			takeEvent(&r, e, time.Time{}) // no event after this one has the container
			s.lacksEvent(&r)
			runs = append(runs, r)
		}
	}
	return runs
}
