package bpf

import (
	"fmt"
)

// Tier is how much of an OOM the programs see.
type Tier uint32

// The tiers, best first.
const (
	// TierAuto is the best that the kernel takes.
	TierAuto Tier = 0
	// TierA sees everything: fentry and fexit.
	TierA Tier = 1
	// TierB sees the same by kprobes; their links can be pinned from Linux 5.15 on.
	TierB Tier = 2
	// TierC sees the victims alone, by raw tracepoints: not whose limit fired,
	// and what belongs to one event only by trigger and time.
	TierC Tier = 3
)

// String returns "A", "B", "C" or "auto".
func (t Tier) String() string {
	switch t {
	case TierAuto:
		return "auto"
	case TierA, TierB, TierC:
		return string(rune('A' + t - TierA))
	default:
		return fmt.Sprintf("tier(%d)", uint32(t))
	}
}

// ParseTier is the reverse of String, also in lower case.
func ParseTier(s string) (Tier, error) {
	switch s {
	case "auto", "":
		return TierAuto, nil
	case "A", "a":
		return TierA, nil
	case "B", "b":
		return TierB, nil
	case "C", "c":
		return TierC, nil
	default:
		return TierAuto, fmt.Errorf("tier %q: only A, B, C and auto are known", s)
	}
}

// hook is one program and where it is attached.
type hook struct {
	program string
	kind    hookKind
	symbol  string // function or tracepoint
}

type hookKind int

const (
	hookTracing hookKind = iota
	hookKprobe
	hookKretprobe
	hookRawTracepoint
)

// hooks are a tier's programs, in the order in which they are attached: first
// what writes victims down, so that one of an event under way is not lost to
// the ledger before.
func (t Tier) hooks(markVictim string) []hook {
	common := []hook{
		{"signal_generate", hookRawTracepoint, "signal_generate"},
		{markVictim, hookRawTracepoint, "mark_victim"},
	}
	switch t {
	case TierA:
		return append(common,
			hook{"kill_fexit", hookTracing, "__oom_kill_process"},
			hook{"kill_fentry", hookTracing, "__oom_kill_process"},
			hook{"event_fentry", hookTracing, "oom_kill_process"})
	case TierB:
		return append(common,
			hook{"kill_kretprobe", hookKretprobe, "__oom_kill_process"},
			hook{"kill_kprobe", hookKprobe, "__oom_kill_process"},
			hook{"event_kprobe", hookKprobe, "oom_kill_process"})
	default:
		return common
	}
}

// pinName is the name of a hook's link on bpffs, where dots are not allowed.
func (h hook) pinName() string { return linkPrefix + h.program }
