package oom

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Ended is what ended a container.
type Ended string

// What ends containers.
const (
	// EndedOOM is the OOM killer.
	EndedOOM Ended = "oom"
	// EndedStopped is a signal that containerd was asked to send.
	EndedStopped Ended = "stopped"
	// EndedSignal is a signal from elsewhere: the program itself, the node's
	// administrator, the kernel. The verdict's Sender is who sent a SIGKILL.
	EndedSignal Ended = "signal"
	// EndedExited is the program, by its own exit.
	EndedExited Ended = "exited"
)

// Verdict is what an exit was.
type Verdict struct {
	// OOMKilled is true if the OOM killer is the exit's cause.
	OOMKilled bool `json:"oomKilled"`
	// Cause is whose limit fired, for an OOM verdict only.
	Cause Cause `json:"cause,omitempty"`
	// Init reports whether init died of the OOM killer's SIGKILL.
	Init Known `json:"initVictim"`
	// Kills counts the container's processes killed in its whole life.
	Kills uint64 `json:"kills"`
	// Ended is what ended the container.
	Ended Ended `json:"ended"`
	// Rule decided.
	Rule Rule `json:"rule"`
	// Lineage is that of the victim which the rule has looked at.
	Lineage Lineage `json:"lineage,omitempty"`
	// Victims are the newest of the kills, oldest first, as the evidence has them.
	Victims []Victim `json:"victims,omitempty"`
	// Sent reports whether somebody else than the OOM killer has sent init a SIGKILL,
	// and Sender is who did, where the exit status is that of a SIGKILL.
	Sent   Known   `json:"sigkillSent"`
	Sender *Sender `json:"sender,omitempty"`
	// Memory is what filled the memory, for an OOM verdict only; nil where it is not
	// known.
	Memory *Memory `json:"memory,omitempty"`
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
	if v.Kills > 0 {
		fields["lineage"] = v.Lineage.String()
	}
	if limit := v.unknownLimit(); limit != "" {
		fields["limit"] = limit
	}
	if v.Memory != nil {
		fields["memory"] = v.Memory.String()
	}
	switch {
	case v.Sender != nil:
		fields["sender"] = v.Sender.String()
	case e.Status == statusSIGKILL && v.Sent == Unknown && v.Init != Yes:
		fields["sender"] = Unknown.String()
	}
	return fields
}

// unknownLimit returns the cgroup whose limit fired where the cause does not say whose
// that is, "" where it does.
func (v Verdict) unknownLimit() string {
	if v.Cause != CauseUnknown {
		return ""
	}
	for _, victim := range slices.Backward(v.Victims) {
		if victim.Lineage == v.Lineage && victim.Limit != 0 {
			return cmp.Or(victim.LimitPath, fmt.Sprintf("cgroup %d", victim.Limit))
		}
	}
	return ""
}

// String returns the lineage, "unknown" where it is not known.
func (l Lineage) String() string {
	if l == LineageUnknown {
		return Unknown.String()
	}
	return string(l)
}

// String returns the sender for a log line, such as "earlyoom[812] uid 0 in
// /system.slice/earlyoom.service".
func (s Sender) String() string {
	if s.PID == 0 {
		return "kernel"
	}
	text := fmt.Sprintf("%s[%d] uid %d", s.Comm, s.PID, s.UID)
	if s.CgroupPath != "" {
		text += " in " + s.CgroupPath
	}
	return text
}
