package oom

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// statusSignal is what a shell and containerd add to a signal's number to make
// the exit status of a process that died of it.
const statusSignal = 128

// Ended is what ended a container.
type Ended string

// What ends containers.
const (
	// EndedOOM is the OOM killer.
	EndedOOM Ended = "oom"
	// EndedStopped is a signal that containerd was asked to send.
	EndedStopped Ended = "stopped"
	// EndedSignal is a signal from elsewhere: the program itself, the node's
	// administrator, the kernel.
	EndedSignal Ended = "signal"
	// EndedExited is the program, by its own exit.
	EndedExited Ended = "exited"
)

// Exit is the end of a container's init.
type Exit struct {
	// Pid of init.
	Pid int
	// Status is 0 to 255; 128 and the signal's number where one killed it.
	Status int
	// At is when it was reaped.
	At time.Time
}

// Stop is a signal that containerd asked the shim to send to init, before the
// exit.
type Stop struct {
	Signal unix.Signal
	// Kills is what the best evidence counted when the signal was asked for.
	Kills uint64
	// At is when the signal was asked for.
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

// Rule is the number of the rule, in the order of the design's section 5, that
// decided a verdict.
type Rule int

// The rules.
const (
	RuleInitVictim   Rule = 1 // init itself was killed by the OOM killer
	RuleStopped      Rule = 2 // containerd asked for the stop
	RuleExitedZero   Rule = 3 // exit status 0
	RuleWithinGrace  Rule = 4 // a kill shortly before a non-zero exit
	RuleUnasked137   Rule = 5 // no ledger, SIGKILL of unknown origin, and a kill
	RuleNothingKnown Rule = 6 // none of these
)

// Verdict is what an exit was.
type Verdict struct {
	// OOMKilled is true if the OOM killer is the exit's cause.
	OOMKilled bool `json:"oomKilled"`
	// Cause is whose limit fired, for an OOM verdict only.
	Cause Cause `json:"cause,omitempty"`
	// Init reports whether init itself was a victim.
	Init Known `json:"initVictim"`
	// Kills counts the container's processes killed in its whole life.
	Kills uint64 `json:"kills"`
	// Ended is what ended the container.
	Ended Ended `json:"ended"`
	// Rule decided.
	Rule Rule `json:"rule"`
	// Evidence names the source that decided, "none" where there was none.
	Evidence string `json:"evidence"`
	// Tier is the ledger's, where that decided.
	Tier string `json:"tier,omitempty"`
	// Gone is true if the source had lost the cgroup before the last reading, so
	// that a kill at the very end may be missing.
	Gone bool `json:"cgroupGone,omitempty"`
}

// LogFields returns the fields of the log line of a verdict. reported is
// the exit status that is reported, and acked says that containerd has acked the TaskOOM.
func (v Verdict) LogFields(container string, e Exit, reported int, acked bool) map[string]any {
	fields := map[string]any{
		"container":   container,
		"pid":         e.Pid,
		"status":      e.Status,
		"oom":         v.OOMKilled,
		"cause":       v.Cause,
		"init_victim": v.Init.String(),
		"kills":       v.Kills,
		"ended":       v.Ended,
		"rule":        v.Rule,
		"evidence":    v.Evidence,
		"tier":        v.Tier, // "" where the ledger did not decide
		"cgroup_gone": v.Gone,
		"acked":       acked,
		"took":        time.Since(e.At).Round(time.Microsecond).String(),
	}
	if reported != e.Status {
		fields["reported_status"] = reported
	}
	return fields
}

// Decide applies the rules of the design's section 5 in their order. It is a
// pure function: the same case has the same verdict on every API path and after
// every restart.
func Decide(c Case) Verdict {
	best := Evidence{Source: "none"}
	if len(c.Evidence) > 0 {
		best = c.Evidence[0]
	}
	v := Verdict{
		Init:     best.Init,
		Kills:    best.Kills,
		Evidence: best.Source,
		Tier:     best.Tier,
		Gone:     best.Gone,
		Ended:    endedBy(c),
	}
	v.Rule, v.OOMKilled = decide(c, best)
	if v.OOMKilled {
		v.Ended = EndedOOM
		v.Cause = best.Cause
		if v.Cause == CauseNone {
			v.Cause = CauseUnknown
		}
	}
	return v
}

func decide(c Case, best Evidence) (Rule, bool) {
	killed := best.Kills > 0
	switch {
	case best.Init == Yes:
		return RuleInitVictim, true
	case stopExplains(c, best):
		return RuleStopped, false
	case c.Exit.Status == 0:
		return RuleExitedZero, false
	case killed && c.Exit.At.Sub(best.Last) <= c.Grace:
		return RuleWithinGrace, true
	case killed && best.Init == Unknown && c.Exit.Status == statusSignal+int(unix.SIGKILL):
		return RuleUnasked137, true
	default:
		return RuleNothingKnown, false
	}
}

// stopExplains reports whether the exit is what containerd asked for. A SIGKILL
// explains any exit, and so does a SIGTERM, whose handler may exit with any
// status; another signal, such as an image's own stop signal, explains the
// status that it gives. One exit is not explained: asked by SIGTERM alone, init
// died of SIGKILL and a process was OOM-killed after the request. Nobody asked
// for that SIGKILL, and without a ledger the counter is the only witness.
func stopExplains(c Case, best Evidence) bool {
	return slices.ContainsFunc(c.Stops, func(s Stop) bool {
		switch s.Signal {
		case unix.SIGKILL:
			return true
		case unix.SIGTERM:
			died := c.Exit.Status == statusSignal+int(unix.SIGKILL)
			return !died || best.Init == No || best.Kills <= s.Kills
		default:
			return c.Exit.Status == statusSignal+int(s.Signal)
		}
	})
}

// endedBy is what ended a container that the OOM killer did not.
func endedBy(c Case) Ended {
	switch {
	case stopExplains(c, Evidence{}):
		return EndedStopped
	case c.Exit.Status > statusSignal:
		return EndedSignal
	default:
		return EndedExited
	}
}
