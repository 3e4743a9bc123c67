package why

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/oomwitness/oomwitness/why/text"
)

// Options of Write.
type Options struct {
	// Columns of the terminal, text.DefaultColumns if 0.
	Columns int
	// Previous shows the run before the newest of each container.
	Previous bool
	// Wide also shows what decided, the container's ID and all earlier runs.
	Wide bool
	// Location of the times that are shown; time.Local if nil.
	Location *time.Location
}

const (
	minColumns = 40
	label      = 15 // cells of a line's first word, with the spaces around
	barCells   = 20
	minBar     = 4
	besideBar  = 28 // cells of the share, the size and the name beside a bar
	// maxEarlier are the earlier runs of a container that are listed.
	maxEarlier = 5
	// maxCandidates are the largest processes that are listed.
	maxCandidates = 3
)

// page writes lines until the first error.
type page struct {
	Options
	w   io.Writer
	now time.Time
	err error
}

// Write writes a document for people: for each container the run that was asked for in
// full, and below a line for each run before.
func (d *Document) Write(w io.Writer, o Options) error {
	if o.Columns == 0 {
		o.Columns = text.DefaultColumns
	}
	o.Columns = max(o.Columns, minColumns)
	if o.Location == nil {
		o.Location = time.Local
	}
	p := &page{Options: o, w: w, now: d.Time}
	for i, runs := range d.shown(o.Previous) {
		if i > 0 {
			p.line("")
		}
		p.run(runs[0])
		p.earlier(runs[1:])
	}
	p.notes(d)
	return p.err
}

func (p *page) line(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, strings.TrimRight(s, " ")+"\n")
	}
}

// say writes a sentence beside its label, over as many lines as the sentence takes.
func (p *page) say(name, format string, args ...any) {
	sentence := text.Plain(fmt.Sprintf(format, args...))
	for _, line := range text.Wrap(sentence, p.Columns-label) {
		p.line("  " + text.Pad(name, label-2, false) + line)
		name = ""
	}
}

// unknown writes that a field is not known.
func (p *page) unknown(r *Run, name, field string) {
	if because, ok := r.missing(field); ok {
		p.say(name, "not known, because %s", because)
	}
}

func (p *page) run(r *Run) {
	p.line(text.Cut(text.Plain(headline(r, p.now)), p.Columns))
	p.ended(r)
	p.signals(r)
	p.victims(r)
	p.filled(r)
	p.memory(r)
	p.often(r)
	if p.Wide {
		p.evidence(r)
	}
	name := "what to do"
	for _, advice := range r.Advice {
		p.say(name, "%s", advice)
		name = ""
	}
}

// headline names the run, and says in a word what ended the run.
func headline(r *Run, now time.Time) string {
	what := ended(r)
	if r.EndedAt != nil {
		what += ", " + text.Ago(now.Sub(*r.EndedAt)) + " ago"
	}
	return name(r) + ": " + what
}

// name names a run by its pod and container.
func name(r *Run) string {
	switch {
	case r.Pod != nil && r.Container.Name != "":
		return r.Pod.Namespace + "/" + r.Pod.Name + "/" + r.Container.Name
	case r.Pod != nil:
		return r.Pod.Namespace + "/" + r.Pod.Name
	case len(r.Container.ID) == 64:
		return "container " + r.Container.ID[:12]
	default:
		return "container " + r.Container.ID
	}
}

// ended says in a word what ended a run.
func ended(r *Run) string {
	switch {
	case r.Running:
		return "running"
	case r.OOMKilled():
		return "OOMKilled"
	case r.Verdict == nil && r.Status != nil:
		return fmt.Sprintf("ended with exit status %d", *r.Status)
	case r.Verdict == nil:
		return "what ended it is not known"
	}
	switch r.Verdict.Ended {
	case EndedStopped:
		return "stopped as asked"
	case EndedSignal:
		return "killed by a signal"
	default:
		return "exited by itself"
	}
}

// limits says whose limit was exceeded.
var limits = map[string]string{
	"container": "the container's own memory limit",
	"pod":       "the pod's memory limit",
	"ancestor":  "the memory limit of a cgroup above the pod",
	"node":      "the node was out of memory, no limit was exceeded",
	"cpuset":    "the memory of the NUMA nodes that the cpuset allows",
	"mempolicy": "the memory of the NUMA nodes that the memory policy allows",
	"sysrq":     "an operator's sysrq f",
	"unknown":   "whose limit was exceeded is not known",
}

func (p *page) ended(r *Run) {
	cause := ""
	if r.Verdict != nil {
		cause = r.Verdict.Cause
	}
	if cause == "" && r.OOM != nil && r.OOMKilled() {
		cause = r.OOM.Cause
	}
	switch {
	case r.Running:
		p.say("ended by", "nothing: the container runs, pid %d", r.PID)
	case r.OOMKilled():
		p.say("ended by", "the OOM killer: %s", limitText(cause, r.OOM))
	case r.Verdict == nil:
		p.unknown(r, "ended by", "verdict")
	case r.Verdict.Ended == EndedStopped:
		p.say("ended by", "a stop that containerd was asked for")
	case r.Verdict.Ended == EndedSignal:
		p.say("ended by", "%s, which nobody asked containerd for", statusSignal(r.Status))
	default:
		p.say("ended by", "its own exit")
	}
	if r.Status != nil {
		p.say("exit status", "%s", statusText(r))
	} else if !r.Running {
		p.unknown(r, "exit status", "exit_status")
	}
	if r.EndedAt != nil {
		p.say("ended at", "%s", r.EndedAt.In(p.Location).Format("2006-01-02 15:04:05 MST"))
	}
}

func limitText(cause string, e *OOMEvent) string {
	said, ok := limits[cause]
	if !ok {
		return limits["unknown"]
	}
	if e != nil && e.LimitBytes != nil && (cause == "container" || cause == "pod" || cause == "ancestor") {
		said += " of " + text.Size(*e.LimitBytes)
	}
	if e != nil && e.LimitOf != "" {
		said += " (" + e.LimitOf + ")"
	}
	return said
}

func statusText(r *Run) string {
	said := fmt.Sprint(*r.Status)
	if name := SignalOfStatus(*r.Status); name != "" {
		said += " (" + name + ")"
	}
	if r.Reported != nil && *r.Reported != *r.Status {
		said += fmt.Sprintf(", reported as %d", *r.Reported)
	}
	return said
}

func statusSignal(status *int) string {
	if status != nil {
		if name := SignalOfStatus(*status); name != "" {
			return name
		}
	}
	return "a signal"
}

// signals says who sent what.
func (p *page) signals(r *Run) {
	if len(r.Signals) > 0 {
		p.say("asked for", "%s, by containerd's client (kubelet in a cluster)", strings.Join(r.Signals, ", then "))
	}
	switch s := r.Sender; {
	case s != nil:
		said := fmt.Sprintf("%s (pid %d", s.Comm, s.PID)
		if s.UID != nil {
			said += fmt.Sprintf(", uid %d", *s.UID)
		}
		said += ")"
		if s.Cgroup != "" {
			said += " in " + s.Cgroup
		}
		p.say("sent by", "%s", said)
	case r.Verdict != nil && r.Verdict.Ended == EndedSignal:
		p.unknown(r, "sent by", "sender")
	}
}

// earlier lists the runs before.
func (p *page) earlier(runs []*Run) {
	name := "earlier runs"
	most := maxEarlier
	if p.Wide {
		most = len(runs)
	}
	for i, r := range runs {
		if i == most {
			p.say("", "and %d more: -o wide shows all", len(runs)-most)
			return
		}
		when := "at a time that is not known"
		if r.EndedAt != nil {
			when = r.EndedAt.In(p.Location).Format("01-02 15:04:05")
		}
		status := "status not known"
		if r.Status != nil {
			status = "status " + statusText(r)
		}
		p.say(name, "%s  %s, %s", when, ended(r), status)
		name = ""
	}
}

// notes writes what is to be said of the whole document.
func (p *page) notes(d *Document) {
	if len(d.Notes) == 0 {
		return
	}
	p.line("")
	for _, note := range d.Notes {
		for i, line := range text.Wrap(text.Plain(note), p.Columns-len("note: ")) {
			p.line([]string{"note: ", "      "}[min(i, 1)] + line)
		}
	}
}
