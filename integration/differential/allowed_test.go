//go:build linux

package differential

import (
	"slices"
	"strings"
	"testing"
)

// allowance is one difference to the stock shim that the project makes on purpose.
type allowance struct {
	why  string
	call func(string) bool
	ours func(stock, ours []string) bool
}

func isOK(answer []string) bool { return len(answer) > 0 && answer[0] == "ok" }

func has(answer []string, part string) bool {
	return slices.ContainsFunc(answer, func(line string) bool { return strings.Contains(line, part) })
}

var allowances = []allowance{
	{
		why: "Stats answers from the last snapshot once init has exited, with a settled oom_kill",
		call: func(call string) bool {
			return strings.HasPrefix(call, "Stats(") && strings.HasSuffix(call, " after exit")
		},
		ours: func(_, ours []string) bool { return isOK(ours) && has(ours, "oom_kill = ") },
	},
	{
		why: "Pids still answers with the init of a task that has exited and was not deleted: containerd would drop the shim",
		call: func(call string) bool {
			return strings.HasPrefix(call, "Pids(") && strings.HasSuffix(call, " after exit")
		},
		ours: func(_, ours []string) bool {
			return isOK(ours) && slices.Contains(ours, "processes = 1 entries") && slices.Contains(ours, "processes[0].pid = <pid 1>")
		},
	},
	{
		why:  "the bundle has the address file of containerd 1.6 and 1.7 as well",
		call: func(call string) bool { return call == "left in the bundle" },
		ours: func(stock, ours []string) bool {
			at := slices.Index(ours, "address")
			return at >= 0 && slices.Equal(stock, slices.Delete(slices.Clone(ours), at, at+1))
		},
	},
	{
		why:  "runtime options of another type are refused with the types that are allowed",
		call: func(call string) bool { return strings.HasPrefix(call, "Create(") },
		ours: func(stock, ours []string) bool {
			return has(stock, "type with url ") && has(stock, ": not found") && has(ours, "InvalidArgument") && has(ours, "runtime options are of type ")
		},
	},
	{
		why:  "TaskExit is delivered before Delete answers",
		call: func(call string) bool { return call == exitBeforeDelete },
		ours: func(_, ours []string) bool { return slices.Equal(ours, []string{"true"}) },
	},
}

// withoutVerdict removes the line with the verdict. Our delete command writes that line if the
// shim died before it could.
func withoutVerdict(stderr string) string {
	var rest strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, " msg=verdict ") {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

// allowed returns the reason why two records may differ, or "".
func allowed(stock, ours record) string {
	if stock.call != ours.call {
		return ""
	}
	for _, a := range allowances {
		if a.call(ours.call) && a.ours(stock.answer, ours.answer) {
			return a.why
		}
	}
	return ""
}

// oomWant is the number of TaskOOMs that our shim must send for a container.
type oomWant int

const (
	noOOM  oomWant = iota // the OOM killer caused no exit, whatever it killed
	oneOOM                // the OOM killer caused the exit
	anyOOM                // not compared
)

// withoutOOM removes TaskOOM from the events of a container, and checks ours. The stock shim
// sends TaskOOM for kills, any number of times, before or after the exit; on cgroup v1 at times
// also for the removal of a cgroup. Our shim sends TaskOOM for an exit, once, and before
// TaskExit.
func withoutOOM(t *testing.T, want oomWant, stock, ours []string) (stockRest, oursRest []string) {
	t.Helper()
	isOOM := func(event string) bool { return strings.HasPrefix(event, "/tasks/oom ") }
	isExit := func(event string) bool { return strings.HasPrefix(event, "/tasks/exit ") }
	rest := slices.DeleteFunc(slices.Clone(ours), isOOM)
	n := len(ours) - len(rest)
	switch {
	case want == oneOOM && (n != 1 || slices.IndexFunc(ours, isOOM) > slices.IndexFunc(ours, isExit)):
		t.Errorf("want one TaskOOM, before TaskExit; have %d in %q", n, ours)
	case want == noOOM && n != 0:
		t.Errorf("want no TaskOOM; have %d in %q", n, ours)
	}
	return slices.DeleteFunc(stock, isOOM), rest
}
