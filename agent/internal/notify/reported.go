package notify

import (
	"slices"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

// annotationReported of an Event names the OOM events that it counts: the times of
// their first kills by CLOCK_BOOTTIME in base 36, in order. The annotation
// makes reporting idempotent: it shows whether an OOM event was reported.
const annotationReported = "agent.oomwitness.io/reported"

// maxReported is how many are named. An OOM event that is older than all of so many
// counts as reported: they come in about the order of their times.
const maxReported = 64

// reported is the sorted times of the OOM events that an Event counts, at most
// maxReported.
type reported []uint64

// parseReported reads the annotation, which anybody may have changed who may patch
// Events: what is no number is left off.
func parseReported(text string) reported {
	var t reported
	for field := range strings.SplitSeq(text, ",") {
		if len(t) == maxReported {
			break
		}
		if ns, err := strconv.ParseUint(field, 36, 64); err == nil {
			t = append(t, ns)
		}
	}
	slices.Sort(t)
	return slices.Compact(t)
}

func (t reported) String() string {
	fields := make([]string, len(t))
	for i, ns := range t {
		fields[i] = strconv.FormatUint(ns, 36)
	}
	return strings.Join(fields, ",")
}

func (t reported) has(ns uint64) bool {
	if len(t) == maxReported && ns < t[0] {
		return true
	}
	_, found := slices.BinarySearch(t, ns)
	return found
}

// with adds those that it has not, and drops the oldest if they get too many.
func (t reported) with(tasks []deliver.Task) reported {
	all := slices.Clone(t)
	for _, task := range tasks {
		if !t.has(task.BootNS) {
			all = append(all, task.BootNS)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[max(0, len(all)-maxReported):]
}

// news are the tasks that are not reported yet.
func (t reported) news(tasks []deliver.Task) []deliver.Task {
	var out []deliver.Task
	for _, task := range tasks {
		if !t.has(task.BootNS) {
			out = append(out, task)
		}
	}
	return out
}
