package tell

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/agent/deliver"
)

// annotationTold of an Event names the OOM events that it counts: the times of
// their first kills by CLOCK_BOOTTIME in base 36, in order. It makes telling
// idempotent: who does not know whether an OOM event was told reads it there.
const annotationTold = "agent.oomwitness.io/told"

// maxTold is how many are named. An OOM event that is older than all of so many
// counts as told: they come in about the order of their times.
const maxTold = 64

// told is the sorted times of the OOM events that an Event counts, at most
// maxTold.
type told []uint64

// parseTold reads the annotation, which anybody may have changed who may patch
// Events: what is no number is left off.
func parseTold(text string) told {
	var t told
	for field := range strings.SplitSeq(text, ",") {
		if len(t) == maxTold {
			break
		}
		if ns, err := strconv.ParseUint(field, 36, 64); err == nil {
			t = append(t, ns)
		}
	}
	slices.Sort(t)
	return slices.Compact(t)
}

func (t told) String() string {
	fields := make([]string, len(t))
	for i, ns := range t {
		fields[i] = strconv.FormatUint(ns, 36)
	}
	return strings.Join(fields, ",")
}

func (t told) has(ns uint64) bool {
	if len(t) == maxTold && ns < t[0] {
		return true
	}
	_, found := slices.BinarySearch(t, ns)
	return found
}

// with adds those that it has not, and drops the oldest if they get too many.
func (t told) with(tasks []deliver.Task) told {
	all := slices.Clone(t)
	for _, task := range tasks {
		if !t.has(task.BootNS) {
			all = append(all, task.BootNS)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[max(0, len(all)-maxTold):]
}

// news are the tasks that are not told yet.
func (t told) news(tasks []deliver.Task) []deliver.Task {
	var out []deliver.Task
	for _, task := range tasks {
		if !t.has(task.BootNS) {
			out = append(out, task)
		}
	}
	return out
}
