//go:build linux

package scenario

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// statuses are exits of an init whose worker was OOM-killed just before.
func statuses() (all []causal) {
	for status, rule := range map[uint32]oom.Rule{
		0: oom.RuleExitedZero, 1: oom.RuleWithinGrace, 137: oom.RulePassedOn, 143: oom.RuleWithinGrace, 255: oom.RuleWithinGrace,
	} {
		all = append(all, worker(fmt.Sprintf("worker-then-%d", status), status, rule, "child-oom-exit", fmt.Sprint(status)))
	}
	return all
}

// worker is a container whose init exits with a status when a process below it was killed.
func worker(name string, status uint32, rule oom.Rule, args ...string) causal {
	c := causal{
		Case: mix.Case{
			Name:      name,
			Container: mix.Container{Args: args, Limit: limit},
			Want:      mix.Want{OOM: rule != oom.RuleExitedZero, Status: status, Init: oom.No, Kills: 1},
		},
		rule: rule, ended: oom.EndedOOM, lineage: descendant,
	}
	if rule == oom.RuleExitedZero {
		c.ended = oom.EndedExited
	}
	return c
}

// tooDeep is more processes than the ledger keeps of a victim's ancestors.
const tooDeep = "14"

// shapes are the places of a worker in the tree below init, with what init makes of its kill:
// all are descendants, by their ancestors at the time of the kill.
func shapes() []causal {
	shape := func(name, status, depth string) causal {
		code, rule := uint32(1), oom.RuleWithinGrace
		if status == "137" {
			code, rule = 137, oom.RulePassedOn
		}
		return worker(name+"-"+depth+"-"+status, code, rule, "shape", name, status, depth)
	}
	deep := shape("chain", "137", tooDeep)
	deep.lineage = oom.LineageUnknown
	both := shape("vfork", "1", "1") // the kernel kills the parent, which waits and shares the memory
	both.Want.Kills = 2
	twice := worker("twice", 1, oom.RuleWithinGrace, "storm", "2", "1")
	twice.Want.Kills = 2
	passed := worker("twice-passed-on", 137, oom.RulePassedOn, "storm", "2", "137")
	passed.Want.Kills = 2
	return []causal{
		shape("chain", "1", "3"), shape("chain", "137", "6"), deep,
		shape("orphan", "1", "1"), shape("orphan", "137", "1"), shape("subreaper", "137", "1"),
		shape("session", "1", "1"), shape("thread", "1", "1"), both,
		shape("pid-namespace", "1", "1"), shape("pid-namespace", "137", "1"), twice, passed,
	}
}

// execShapes have a process killed that an exec has started, and init exit by a SIGTERM that
// containerd was not asked for.
func execShapes() (all []causal) {
	for name, c := range map[string]struct {
		exec   act
		status uint32 // of init
	}{
		"exec-chain":         {mix.ExecEnds(137, "shape", "chain", "137", "3"), 3},
		"exec-subreaper":     {mix.ExecEnds(137, "shape", "subreaper", "137"), 3},
		"exec-pid-namespace": {mix.ExecEnds(1, "shape", "pid-namespace", "1"), 3},
		"exec-session":       {mix.ExecEnds(1, "shape", "session", "1"), 1},
		"exec-then-137":      {mix.ExecKilled, 137},
		"exec-then-255":      {mix.ExecKilled, 255},
	} {
		all = append(all, causal{
			Case: mix.Case{
				Name:      name,
				Container: mix.Container{Args: []string{"trap-term", fmt.Sprint(c.status)}, Limit: limit, Output: true},
				Act:       mix.Then(c.exec, mix.KillFromHost(syscall.SIGTERM)),
				Want:      mix.Want{Status: c.status, Init: oom.No, Kills: 1},
			},
			rule: oom.RuleExec, ended: oom.EndedExited, lineage: execd,
		})
	}
	// An exec'd process leaves an orphan, whose parent is init by then. The orphan's session
	// is the exec'd process's, unless the orphan has begun another.
	left := func(name, shape string, rule oom.Rule) causal {
		c := worker(name, 3, rule, "trap-term", "3")
		c.Output = true
		c.Act = mix.Then(mix.ExecEnds(0, "left", shape), killCounted, mix.KillFromHost(syscall.SIGTERM))
		return c
	}
	own := left("exec-orphan", "orphan", oom.RuleExec)
	own.Want.OOM, own.ended, own.lineage = false, oom.EndedExited, execd
	return append(all, own, left("exec-daemon", "daemon", oom.RuleWithinGrace))
}

// killCounted waits until the OOM killer has ended a process of the container.
func killCounted(ctx context.Context, r *mix.Running) error {
	return faultkit.Until(ctx, "a kill", func() error { return faultkit.Killed(int(r.Task.Pid())) })
}

// TestShapes runs one container of each place that a victim can have in the tree of processes,
// and of each status that may follow.
func TestShapes(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	for _, c := range append(append(statuses(), shapes()...), execShapes()...) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			o, err := r.Run(t.Context(), mix.Ours, c.Case, mix.ByWait)
			require.NoError(t, err)
			checkCausal(t, c, o)
		})
	}
}
