package notify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
)

const (
	// maxMessage is how long a message of an Event may be: what the newer API,
	// events.k8s.io, allows.
	maxMessage = 1024
	// maxNamed is how many victims are named beside the first.
	maxNamed = 3
)

// message says what was killed and why. victims are those of one container, at
// least one; in is the OOM event, which may have others.
func message(in *events.OOMEvent, victims []events.Victim) string {
	var out strings.Builder
	first := victims[0]
	fmt.Fprintf(&out, "Killed process %s%s", process(&first), outside(&first))
	if rss := first.Memory.RSS; rss != nil {
		fmt.Fprintf(&out, ", which had %s of memory%s", events.Size(*rss), parts(first.Memory))
	}
	fmt.Fprintf(&out, ": %s%s", cause(in, &first), filled(in, victims))
	if others := victims[1:]; len(others) > 0 {
		out.WriteString("; and with it ")
		for i, v := range others[:min(len(others), maxNamed)] {
			if i > 0 {
				out.WriteString(", ")
			}
			out.WriteString(process(&v))
		}
		if more := len(others) - maxNamed; more > 0 {
			fmt.Fprintf(&out, " and %d more", more)
		}
	}
	if elsewhere := len(in.Victims) - len(victims); elsewhere > 0 {
		fmt.Fprintf(&out, "; %d killed elsewhere", elsewhere)
	}
	return short(out.String(), maxMessage)
}

// outside says where a victim in no pod was: its systemd unit, else its cgroup.
func outside(v *events.Victim) string {
	switch {
	case v.Pod != nil:
		return ""
	case v.Unit != "":
		return " of " + events.Clean(v.Unit)
	case v.Cgroup.Path != "":
		return " of " + events.Clean(v.Cgroup.Path)
	default:
		return ""
	}
}

func process(v *events.Victim) string { return fmt.Sprintf("%s (pid %d)", events.Clean(v.Comm), v.PID) }

func parts(m events.Memory) string {
	if m.Anon == nil || m.File == nil || m.Shmem == nil {
		return ""
	}
	text := fmt.Sprintf("anonymous %s, file %s, shared %s", events.Size(*m.Anon), events.Size(*m.File), events.Size(*m.Shmem))
	if m.Swap > 0 {
		text += ", and " + events.Size(m.Swap) + " in swap"
	}
	return " (" + text + ")"
}

// cause says whose limit fired, seen from the victims.
func cause(in *events.OOMEvent, first *events.Victim) string {
	switch in.Cause {
	case oom.CauseContainer:
		if first.Container == nil {
			return "the memory limit" + limit(in) + " of its own cgroup was reached"
		}
		return "the container's memory limit" + limit(in) + " was reached"
	case oom.CausePod:
		return "the pod's memory limit" + limit(in) + " was reached"
	case oom.CauseAncestor:
		above := "the pod"
		if first.Pod == nil {
			above = "its own"
		}
		return "the memory limit" + limit(in) + " of a cgroup above " + above + " was reached" + domain(in)
	case oom.CauseNode:
		return "the node was out of memory"
	case oom.CauseCpuset:
		return "the memory of the NUMA nodes that its cpuset allows was used up"
	case oom.CauseMempolicy:
		return "the memory of the NUMA nodes that its memory policy allows was used up"
	case oom.CauseSysrq:
		return "somebody asked the kernel for an OOM kill (sysrq f)"
	default:
		return "whose memory limit it was is not known"
	}
}

// filled says what filled the memory, and which process was the largest if that is no
// victim. Processes outside of the pod are not named.
func filled(in *events.OOMEvent, victims []events.Victim) string {
	m := in.Memory
	if m == nil {
		return ""
	}
	var text string
	if kinds := m.Kinds(); kinds != "" {
		text = ", filled by " + kinds
	}
	if in.Cause != oom.CauseContainer && in.Cause != oom.CausePod || len(m.Candidates) == 0 {
		return text
	}
	largest := m.Candidates[0]
	if slices.ContainsFunc(victims, func(v events.Victim) bool { return int(v.PID) == largest.PID }) {
		return text
	}
	return text + fmt.Sprintf("; the largest process was %s (pid %d) with %s", events.Clean(largest.Comm), largest.PID, events.Size(largest.RSS+largest.Swap))
}

func limit(in *events.OOMEvent) string {
	switch {
	case in.Limit != nil:
		return " of " + events.Size(*in.Limit)
	case in.Domain != nil && in.Domain.Size != 0:
		return " of " + events.Size(in.Domain.Size)
	default:
		return ""
	}
}

func domain(in *events.OOMEvent) string {
	if in.Domain == nil || in.Domain.Path == "" {
		return ""
	}
	return ": " + events.Clean(in.Domain.Path)
}

// short cuts text, which is printable, at a rune.
func short(text string, bytes int) string {
	if len(text) <= bytes {
		return text
	}
	const dots = "..."
	cut := strings.ToValidUTF8(text[:bytes-len(dots)], "")
	return cut + dots
}
