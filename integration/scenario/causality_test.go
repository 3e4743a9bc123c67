//go:build linux

package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// causal is a case with what its verdict says of the cause of the exit.
type causal struct {
	mix.Case
	rule    oom.Rule
	ended   oom.Ended
	lineage oom.Lineage
	sender  string // the comm, where there is one
	v2      bool   // needs cgroup v2
	slow    bool   // waits for a minute: make test-full
}

const (
	descendant = oom.LineageDescendant
	execd      = oom.LineageExec
	limit      = 24 * mix.MiB

	rtmin3 = syscall.Signal(37) // RTMIN+3 of glibc
)

type act = func(context.Context, *mix.Running) error

// hierarchy is the memory controller of this node.
func hierarchy(t *testing.T) oom.Hierarchy {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	return h
}

// passedOn are parents that clean up for a while after the kill of a worker.
func passedOn() (all []causal) {
	for _, seconds := range []int{1, 8, 60} {
		all = append(all, causal{
			Case: mix.Case{
				Name:      fmt.Sprintf("passed-on-after-%ds", seconds),
				Container: mix.Container{Args: []string{"child-oom-exit", "137", fmt.Sprint(1000 * seconds)}, Limit: limit},
				Want:      mix.Want{OOM: true, Status: 137, Init: oom.No, Kills: 1},
			},
			rule: oom.RulePassedOn, ended: oom.EndedOOM, lineage: descendant, slow: seconds == 60,
		})
	}
	for _, c := range []struct {
		name, grace string
		ms          int
		oom         bool
	}{
		{"within", "", 3000, true}, {"beyond", "", 13000, false},
		{"within-its-own", "30s", 13000, true}, {"beyond-its-own", "1s", 3000, false},
	} {
		rule, ended := oom.RuleNothingKnown, oom.EndedExited
		if c.oom {
			rule, ended = oom.RuleWithinGrace, oom.EndedOOM
		}
		var annotations map[string]string
		if c.grace != "" {
			annotations = policy("grace", c.grace)
		}
		all = append(all, causal{
			Case: mix.Case{
				Name:      "gives-up-" + c.name + "-the-grace",
				Container: mix.Container{Args: []string{"child-oom-exit", "1", fmt.Sprint(c.ms)}, Limit: limit, Annotations: annotations},
				Want:      mix.Want{OOM: c.oom, Status: 1, Init: oom.No, Kills: 1},
			},
			rule: rule, ended: ended, lineage: descendant,
		})
	}
	return all
}

// execs have an exec'd process killed, and init exit by itself a second later.
func execs() (all []causal) {
	for name, killed := range map[string]act{
		"exec": mix.ExecKilled, "child-of-exec": mix.ExecEnds(7, "child-oom-exit", "7"),
	} {
		all = append(all, causal{
			Case: mix.Case{
				Name:      name + "-then-exit-3",
				Container: mix.Container{Args: []string{"trap-term", "3"}, Limit: limit, Output: true},
				Act:       mix.Then(killed, mix.After(time.Second), mix.KillFromHost(syscall.SIGTERM)),
				Want:      mix.Want{Status: 3, Init: oom.No, Kills: 1},
			},
			rule: oom.RuleExec, ended: oom.EndedExited, lineage: execd,
		})
	}
	return all
}

// killCgroup ends all processes of the container's cgroup at once.
func killCgroup(_ context.Context, r *mix.Running) error {
	dir, err := oom.Hierarchy{Version: 2, Mount: "/sys/fs/cgroup"}.PathOf(int(r.Task.Pid()))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("/sys/fs/cgroup", dir, "cgroup.kill"), []byte("1"), 0)
}

// senders are SIGKILLs that containerd was not asked for, a second after a kill.
func senders(t *testing.T) (all []causal) {
	comm, err := os.ReadFile("/proc/self/comm")
	require.NoError(t, err)
	for name, killed := range map[string]act{"pid": mix.KillFromHost(syscall.SIGKILL), "cgroup": killCgroup} {
		all = append(all, causal{
			Case: mix.Case{
				Name:      "child-oom-then-sigkill-by-" + name,
				Container: mix.Container{Args: []string{"child-oom-sleep"}, Limit: limit, Output: true},
				Act:       steps(mix.ChildDied, mix.After(time.Second), killed),
				Want:      mix.Want{Status: 137, Init: oom.No, Kills: 1},
			},
			rule: oom.RuleSender, ended: oom.EndedSignal, lineage: descendant, sender: string(comm[:len(comm)-1]), v2: name == "cgroup",
		})
	}
	return all
}

// stops are stops that containerd was asked for.
func stops() []causal {
	all := []causal{{
		Case: mix.Case{
			Name:      "sigterm-then-child-oom",
			Container: mix.Container{Args: []string{"term-child-oom", "1"}, Limit: limit, Output: true},
			Act:       mix.Then(mix.ClientKill(syscall.SIGTERM)),
			Want:      mix.Want{OOM: true, Status: 1, Init: oom.No, Kills: 1},
		},
		rule: oom.RuleStopped, ended: oom.EndedOOM, lineage: descendant,
	}}
	for name, signal := range map[string]syscall.Signal{
		"term": syscall.SIGTERM, "int": syscall.SIGINT, "quit": syscall.SIGQUIT, "rtmin3": rtmin3,
	} {
		all = append(all, trapped("child-oom-then-stop-by-"+name, signal, oom.RuleStopped, oom.EndedStopped))
	}
	reload := trapped("child-oom-then-usr1", syscall.SIGUSR1, oom.RuleWithinGrace, oom.EndedOOM)
	reload.Want.OOM = true
	inPod := trapped("child-oom-then-stop-by-usr1-in-a-pod", syscall.SIGUSR1, oom.RuleStopped, oom.EndedStopped)
	inPod.Pod = "podusr1"
	return append(all, reload, inPod)
}

// trapped is a container whose handler of a signal exits 1, after the kill of a child.
func trapped(name string, signal syscall.Signal, rule oom.Rule, ended oom.Ended) causal {
	return causal{
		Case: mix.Case{
			Name:      name,
			Container: mix.Container{Args: []string{"child-oom-trap", "1"}, Limit: limit, Output: true},
			Act:       steps(mix.ChildDied, mix.ClientKill(signal)),
			Want:      mix.Want{Status: 1, Init: oom.No, Kills: 1},
		},
		rule: rule, ended: ended, lineage: descendant,
	}
}

// TestCausality runs the shapes in which who died, and who sent what, decides.
func TestCausality(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	h := hierarchy(t)
	all := append(passedOn(), execs()...)
	for _, c := range append(append(all, senders(t)...), stops()...) {
		t.Run(c.Name, func(t *testing.T) {
			if c.v2 && h.Version < 2 {
				t.Skip("needs cgroup v2")
			}
			if c.slow && os.Getenv("CAUSALITY_SLOW") == "" {
				t.Skip("waits for a minute: CAUSALITY_SLOW=1, as make test-full has it")
			}
			t.Parallel()
			for _, o := range outcomes(t, r, c) {
				checkCausal(t, c, o)
			}
		})
	}
}

// outcomes runs a case CAUSALITY_RUNS times. The runs of a slow case wait at the same time.
func outcomes(t *testing.T, r *mix.Runner, c causal) []mix.Outcome {
	t.Helper()
	all := make([]mix.Outcome, counts.FromEnv(t, "CAUSALITY_RUNS", 2))
	g, ctx := errgroup.WithContext(t.Context())
	if !c.slow {
		g.SetLimit(1)
	}
	for i := range all {
		g.Go(func() (err error) {
			all[i], err = r.Run(ctx, mix.Ours, c.Case, mix.ByWait)
			return err
		})
	}
	require.NoError(t, g.Wait())
	return all
}

// checkCausal checks a verdict of the ledger, and its log line.
func checkCausal(t *testing.T, c causal, o mix.Outcome) {
	t.Helper()
	checkWhole(t, c.Case, o)
	v := o.Verdict
	require.Equal(t, c.rule, v.Rule, "%+v", *v)
	require.Equal(t, c.ended, v.Ended)
	require.Equal(t, c.lineage, v.Lineage)
	require.Len(t, v.Victims, int(v.Kills))
	line := logLine(t, "verdict", o.ID)
	require.Equal(t, c.lineage.String(), line["lineage"])
	if c.sender == "" {
		require.NotEqual(t, oom.Yes, v.Sent, "%+v", v.Sender)
		return
	}
	require.NotNil(t, v.Sender)
	require.Equal(t, c.sender, v.Sender.Comm)
	require.Contains(t, line["sender"], c.sender)
}
