package why

import (
	"fmt"
	"io"
	"slices"
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
	for i, s := range d.shown(o.Previous) {
		if i > 0 {
			p.line("")
		}
		p.run(s.full, s.running)
		p.earlier(s.earlier)
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

// run writes a run in full. running is the container's run that goes on, nil for none.
func (p *page) run(r, running *Run) {
	p.line(text.Cut(text.Plain(headline(r, p.now)), p.Columns))
	if running != nil {
		p.say("now", "the container runs again%s", oomWhileRunning(running, p.now))
	}
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

// oomWhileRunning says that the OOM killer ended a process of a container that runs.
func oomWhileRunning(r *Run, now time.Time) string {
	if r.OOM == nil || len(r.OOM.Victims) == 0 {
		return ""
	}
	return fmt.Sprintf(", and the OOM killer ended %s in the container %s ago", text.Clean(r.OOM.Victims[0].Comm), text.Ago(now.Sub(r.OOM.Time)))
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
	case EndedExited:
		return "exited by itself"
	default:
		return "what ended it is not known"
	}
}

func (p *page) ended(r *Run) {
	switch {
	case r.Running:
		p.say("ended by", "nothing: %s", process("the container runs", r.PID))
	case r.OOMKilled():
		p.say("ended by", "the OOM killer: %s", limitText(r, r.cause()))
	case r.Verdict == nil:
		p.unknown(r, "ended by", "verdict")
	case r.Verdict.Ended == EndedStopped:
		p.say("ended by", "a stop that containerd was asked for")
	case r.Verdict.Ended == EndedSignal:
		p.say("ended by", "%s, which nobody asked containerd for", statusSignal(r.Status))
	case r.Verdict.Ended != EndedExited:
		p.say("ended by", "not known, because the verdict is %q, and this program does not know such a verdict", r.Verdict.Ended)
	case r.Status != nil && *r.Status == statusKilled:
		p.say("ended by", "its own exit with this status: no other process sent SIGKILL to the container's init")
	default:
		p.say("ended by", "its own exit")
	}
	if r.Status != nil {
		p.say("exit status", "%s", statusText(r))
	} else if !r.Running {
		p.unknown(r, "exit status", "exit_status")
	}
	if r.EndedAt != nil {
		p.say("ended at", "%s%s", r.EndedAt.In(p.Location).Format("2006-01-02 15:04:05 MST"), onNode(r))
	} else {
		p.unknown(r, "ended at", "ended_at")
	}
}

// onNode names the node of a run in a document of several nodes.
func onNode(r *Run) string {
	if r.Node == "" {
		return ""
	}
	return " on node " + r.Node
}

func statusText(r *Run) string {
	said := fmt.Sprint(*r.Status)
	itself := r.Verdict != nil && r.Verdict.Ended == EndedExited
	if name := SignalOfStatus(*r.Status); name != "" && !itself {
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
	case s != nil && s.Kernel:
		p.say("sent by", "the kernel itself")
	case s != nil:
		said := process(s.Comm, s.PID)
		if s.PID != 0 && s.UID != nil {
			said = fmt.Sprintf("%s (pid %d, uid %d)", s.Comm, s.PID, *s.UID)
		}
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
		p.say(name, "%s  %s, %s%s", when, ended(r), status, onNode(r))
		name = ""
	}
}

// notes writes what is to be said of the whole document.
func (p *page) notes(d *Document) {
	notes := d.Notes
	if d.Omitted > 0 {
		notes = append(slices.Clone(notes), count(d.Omitted, "older run")+" not shown: an answer has at most "+count(MaxRuns, "run"))
	}
	if len(notes) == 0 {
		return
	}
	p.line("")
	for _, note := range notes {
		for i, line := range text.Wrap(text.Plain(note), p.Columns-len("note: ")) {
			p.line([]string{"note: ", "      "}[min(i, 1)] + line)
		}
	}
}
