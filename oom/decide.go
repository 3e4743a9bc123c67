package oom

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const statusSIGKILL = statusSignal + int(unix.SIGKILL)

// Exit is the end of a container's init.
type Exit struct {
	// Pid of init.
	Pid int
	// Status is 0 to 255; 128 and the signal's number where one killed it.
	Status int
	// StatusUnknown is true if nobody has the status, as where the shim died before
	// init. Status is 137 then.
	StatusUnknown bool
	// At is when it was reaped.
	At time.Time
}

// Case is all that a verdict is decided from.
type Case struct {
	Exit Exit
	// Stops are in the order in which they were asked for.
	Stops []Stop
	// Evidence is best first. Empty where no source could be armed.
	Evidence []Evidence
	// Grace is how long before an exit a kill of another process of the
	// container may lie and still count as the exit's cause.
	Grace time.Duration
}

// facts are what the evidence of a case says, each unknown of it included.
type facts struct {
	Case
	best   Evidence
	sent   Known // a SIGKILL to init, by somebody else than the OOM killer
	sender *Sender
	kill   suspect
	killed bool // there is a kill
	exec   bool // an exec'd process was killed
}

// Decide applies the rules of the design's section 5 in their order. It is a
// pure function: the same case has the same verdict on every API path and after
// every restart.
func Decide(c Case) Verdict {
	f := factsOf(c)
	v := Verdict{
		Init: f.best.Init, Kills: f.best.Kills, Victims: f.best.Victims,
		Evidence: f.best.Source, Tier: f.best.Tier, Gone: f.best.Gone,
		Sent: f.sent,
	}
	if c.Exit.Status == statusSIGKILL {
		v.Sender = f.sender
	}
	v.Rule, v.Ended = f.decide()
	v.Lineage = f.lineage(v.Rule)
	if v.Ended == EndedOOM {
		v.OOMKilled = true
		v.Cause, v.Memory = f.explain(v.Rule)
	}
	return v
}

func factsOf(c Case) facts {
	f := facts{Case: c, best: Evidence{Source: "none"}}
	if len(c.Evidence) > 0 {
		f.best = c.Evidence[0]
	}
	f.sent = f.best.Sent
	// What another source has seen stays true. What it has not seen proves nothing, since
	// it has missed a kill.
	for _, e := range c.Evidence {
		if e.Sent == Yes {
			f.sent, f.sender = Yes, e.Sender
			break
		}
	}
	f.kill, f.killed, f.exec = suspectOf(f.best, c.Exit)
	return f
}

// decide returns the rule that applies first, and what ended the container by it.
func (f *facts) decide() (Rule, Ended) {
	requested, despite := f.stopped()
	switch {
	case f.best.Init == Yes:
		return RuleInitVictim, EndedOOM
	case f.sigkill() && f.sent == Yes:
		if f.askedSIGKILL() {
			return RuleSender, EndedStopped
		}
		return RuleSender, EndedSignal
	case requested && despite:
		return f.byCounters(RuleStopped), EndedOOM
	case requested:
		return RuleStopped, EndedStopped
	case f.Exit.Status == 0:
		return RuleExitedZero, EndedExited
	case f.killed:
		return f.descendant()
	case f.exec:
		return RuleExec, f.itself()
	default:
		return RuleNothingKnown, f.itself()
	}
}

// descendant applies the rules 5 and 7: a descendant of init was killed, or a process
// whose lineage is not known.
func (f *facts) descendant() (Rule, Ended) {
	switch {
	case f.sigkill() && f.sent == No && !f.Exit.StatusUnknown:
		return RulePassedOn, EndedOOM
	case f.sigkill() && f.sent == Unknown && f.best.Init == Unknown:
		return RuleCounters, EndedOOM // init itself may be the victim, at any time
	case f.Exit.At.Sub(f.kill.at) <= f.Grace:
		return f.byCounters(RuleWithinGrace), EndedOOM
	default:
		return RuleNothingKnown, f.itself()
	}
}

// byCounters returns the rule, or RuleCounters if the decision stands on what is not
// known: who was killed, or who sent the SIGKILL of which init may have died.
func (f *facts) byCounters(r Rule) Rule {
	if f.sent == Unknown && (f.kill.victim == nil || f.sigkill()) {
		return RuleCounters
	}
	return r
}

// sigkill reports whether init died of a SIGKILL, or passed that status on.
func (f *facts) sigkill() bool { return f.Exit.Status == statusSIGKILL }

// askedSIGKILL reports whether containerd had asked for the SIGKILL of which init died:
// a SIGKILL that came before the request is another's.
func (f *facts) askedSIGKILL() bool {
	return slices.ContainsFunc(f.Stops, func(s Stop) bool {
		return s.Signal == unix.SIGKILL && (f.sender == nil || !f.sender.At.Before(s.At))
	})
}

// stopped reports whether containerd had asked for the stop. despite is true if the
// stop does not explain the exit: a process was OOM-killed after the request, and the
// status is neither 0 nor that of a signal which was asked for.
func (f *facts) stopped() (requested, despite bool) {
	if slices.ContainsFunc(f.Stops, f.explains) {
		return true, false
	}
	first := slices.IndexFunc(f.Stops, Stop.purpose)
	if first < 0 {
		return false, false
	}
	guessed := f.Exit.StatusUnknown && f.best.Init == No
	return true, f.Exit.Status != 0 && !guessed && f.killed && f.kill.after(f.Stops[first])
}

// explains reports whether init may have died of the signal of a stop. A SIGKILL that init
// never got does not explain the status. runc reports no error if init has ended while runc
// started, for a request for all processes and in a shared PID namespace (runc v1.5.2 kill.go;
// libcontainer/container_linux.go, Signal).
func (f *facts) explains(s Stop) bool {
	undelivered := s.Signal == unix.SIGKILL && f.sent == No && !f.Exit.StatusUnknown && !s.At.IsZero()
	return s.status() == f.Exit.Status && !undelivered
}

// itself returns what ended a container that neither the OOM killer nor containerd has
// ended.
func (f *facts) itself() Ended {
	signal := f.Exit.Status - statusSignal
	if signal <= 0 || signal > MaxSignal || f.sigkill() && f.sent == No {
		return EndedExited
	}
	return EndedSignal
}

// MaxSignal is the largest signal: the kernel's _NSIG on amd64 and arm64.
const MaxSignal = 64

// lineage returns that of the victim that decided: init by rule 1, an exec'd process by
// rule 6, else the newest suspect.
func (f *facts) lineage(r Rule) Lineage {
	switch {
	case r == RuleInitVictim:
		return LineageInit
	case r == RuleExec:
		return LineageExec
	case f.kill.victim != nil:
		return f.kill.victim.Lineage
	default:
		return LineageUnknown
	}
}

// explain returns whose limit fired at the kill that decided, and what filled the memory
// then: the evidence has that of the newest kill.
func (f *facts) explain(r Rule) (cause Cause, memory *Memory) {
	victim := f.kill.victim
	if r == RuleInitVictim {
		victim = f.best.InitVictim()
	}
	cause, memory = f.best.Cause, f.best.Memory
	if victim != nil {
		cause = victim.Cause
		if newest := f.best.Victims[len(f.best.Victims)-1]; victim.Seq != newest.Seq {
			memory = nil
		}
	}
	if cause == CauseNone {
		cause = CauseUnknown
	}
	return cause, memory
}
