//go:build linux

package deadshim

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/runtime"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// A shim that runs has reported everything: the removal after an ordinary Delete
// reports nothing, and needs no time.
func TestALivingShimsContainerIsOnlyRemoved(t *testing.T) {
	g := newDeadBundle(t)
	g.live(t)
	g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	status, err := g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) { return g.removed, nil })
	require.NoError(t, err)
	require.Equal(t, g.removed, status)
	require.Empty(t, g.events.all())
	rec, err := bundle.ReadRecord(g.Bundle)
	require.NoError(t, err)
	require.Nil(t, rec.Verdict)
}

// A socket that takes connections is no shim: a dead one's child may hold it.
func TestASocketThatNobodyAnswersOnIsADeadShims(t *testing.T) {
	g := newDeadBundle(t)
	l, err := net.Listen("unix", g.socket(t))
	require.NoError(t, err)
	defer l.Close()
	g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	_, err = g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) { return g.removed, nil })
	require.NoError(t, err)
	require.Equal(t, []string{"/tasks/oom c"}, g.events.all())
	require.True(t, g.verdict(t).OOMKilled)
}

// What is known of an exit when its shim is dead, and what is said of it then.
func TestTheExitOfADeadShim(t *testing.T) {
	victim := func() oom.Evidence {
		return oom.Evidence{Kills: 1, Last: time.Now().Add(-time.Second), Init: oom.Yes, Cause: oom.CausePod}
	}
	childOf := func(ago time.Duration) oom.Evidence {
		at := time.Now().Add(-ago)
		return oom.Evidence{
			Kills: 1, Last: at, Init: oom.No, Sent: oom.No, Cause: oom.CauseContainer,
			Victims: []oom.Victim{{At: at, Lineage: oom.LineageDescendant, Cause: oom.CauseContainer}},
		}
	}
	child := func() oom.Evidence { return childOf(time.Second) }
	for name, tc := range map[string]struct {
		arrange func(t *testing.T, g *deadBundle)
		oom     bool
		rule    oom.Rule
		status  int
		// better is true if the exit is not upstream's.
		better bool
		ended  oom.Ended
	}{
		"exit known, init was the victim": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 137, time.Now())
			g.source.set(victim())
		}, true, oom.RuleInitVictim, 137, false, oom.EndedOOM},
		"exit known, a child was": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 3, time.Now())
			g.source.set(child())
		}, true, oom.RuleWithinGrace, 3, false, oom.EndedOOM},
		"exit known, a child was long ago": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 3, time.Now().Add(time.Minute))
			g.source.set(child())
		}, false, oom.RuleNothingKnown, 3, false, oom.EndedExited},
		"exit known, a child was within the container's grace": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 3, time.Now().Add(time.Minute))
			g.rec.Grace = 2 * time.Minute
			g.source.set(child())
		}, true, oom.RuleWithinGrace, 3, false, oom.EndedOOM},
		"exit known, a child's was passed on": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 137, time.Now())
			g.source.set(childOf(time.Hour))
		}, true, oom.RulePassedOn, 137, false, oom.EndedOOM},
		"exit known, a later kill of an orphan": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 3, time.Now().Add(-2*time.Second))
			e := child()
			e.Victims[0].Lineage = oom.LineageUnknown
			g.source.set(e)
		}, false, oom.RuleNothingKnown, 3, false, oom.EndedExited},
		"exit known, stopped, a later kill of an orphan": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 1, time.Now().Add(-2*time.Second))
			g.rec.Stops = []oom.Stop{{Signal: unix.SIGTERM, At: time.Now().Add(-3 * time.Second)}}
			g.source.set(child())
		}, false, oom.RuleStopped, 1, false, oom.EndedStopped},
		"not reaped, a child was long ago": {func(_ *testing.T, g *deadBundle) {
			g.source.set(childOf(time.Hour))
		}, false, oom.RuleNothingKnown, 137, false, oom.EndedExited},
		"not reaped, killed by another": {func(_ *testing.T, g *deadBundle) {
			e := child()
			e.Sent, e.Sender = oom.Yes, &oom.Sender{At: time.Now(), PID: 4, Comm: "earlyoom"}
			g.source.set(e)
		}, false, oom.RuleSender, 137, false, oom.EndedSignal},
		"exit 0, a child was": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 0, time.Now())
			g.source.set(child())
		}, false, oom.RuleExitedZero, 0, false, oom.EndedExited},
		"a stop was asked for, a child was": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 137, time.Now())
			g.rec.Stops = []oom.Stop{{Signal: unix.SIGKILL}}
			g.source.set(child())
		}, false, oom.RuleStopped, 137, false, oom.EndedStopped},
		"a stop was asked for, init was": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 137, time.Now())
			g.rec.Stops = []oom.Stop{{Signal: unix.SIGKILL}}
			g.source.set(victim())
		}, true, oom.RuleInitVictim, 137, false, oom.EndedOOM},
		"reaped, and recorded by us alone": {func(_ *testing.T, g *deadBundle) {
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 3, At: time.Now()})
			g.source.set(child())
		}, true, oom.RuleWithinGrace, 3, true, oom.EndedOOM},
		"not reaped, init was": {func(_ *testing.T, g *deadBundle) {
			g.source.set(victim())
		}, true, oom.RuleInitVictim, 137, true, oom.EndedOOM},
		"not reaped, nothing killed": {func(*testing.T, *deadBundle) {},
			false, oom.RuleNothingKnown, 137, false, oom.EndedSignal},
		"not reaped, a kill by the counters": {func(_ *testing.T, g *deadBundle) {
			g.source.set(oom.Evidence{Kills: 1, Last: time.Now().Add(-time.Hour)})
		}, true, oom.RuleCounters, 137, false, oom.EndedOOM},
		"init alive, a child was": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = sleeper(t)
			g.source.set(child())
		}, false, oom.RuleStopped, 137, false, oom.EndedStopped},
		"init alive, counters only": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = sleeper(t)
			g.source.set(killedNow())
		}, false, oom.RuleStopped, 137, false, oom.EndedStopped},
		"init dying, it was": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = sleeper(t)
			g.source.set(victim())
		}, true, oom.RuleInitVictim, 137, true, oom.EndedOOM},
		"another has init's pid": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = sleeper(t)
			g.rec.StartTicks++
			g.source.set(child())
		}, true, oom.RuleWithinGrace, 137, false, oom.EndedOOM},
		"of another boot": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = sleeper(t)
			g.rec.Boot = "another"
			g.source.set(victim())
		}, false, oom.RuleNothingKnown, 137, false, oom.EndedSignal},
		"an exit of another pid": {func(t *testing.T, g *deadBundle) {
			before := g.removed
			g.exited(t, 5, time.Now())
			g.rec.Pid, g.removed = gone+1, before
		}, false, oom.RuleNothingKnown, 137, false, oom.EndedSignal},
		"evidence unreadable": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 5, time.Now())
			g.source.err = errors.New("not today")
		}, false, oom.RuleNothingKnown, 5, false, oom.EndedExited},
		"evidence hangs": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 5, time.Now())
			g.source.block = make(chan struct{})
			time.AfterFunc(time.Hour, func() { close(g.source.block) })
		}, false, oom.RuleNothingKnown, 5, false, oom.EndedExited},
		"decided before, and recorded by upstream": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 9, time.Now().Add(time.Millisecond))
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 9, At: time.Now()})
			g.rec.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleWithinGrace, Ended: oom.EndedOOM}
		}, true, oom.RuleWithinGrace, 9, true, oom.EndedOOM},
		"decided before": {func(_ *testing.T, g *deadBundle) {
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 9, At: time.Now()})
			g.rec.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleWithinGrace, Ended: oom.EndedOOM}
		}, true, oom.RuleWithinGrace, 9, true, oom.EndedOOM},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newDeadBundle(t)
				tc.arrange(t, g)
				status := g.remove(t)
				v := g.verdict(t)
				require.Equal(t, tc.oom, v.OOMKilled, "%+v", v)
				require.Equal(t, tc.rule, v.Rule)
				require.Equal(t, tc.ended, v.Ended)
				require.Equal(t, tc.status, status.ExitStatus)
				require.Equal(t, tc.better, status != g.removed, "%+v", status)
				var want []string
				if tc.oom {
					want = []string{"/tasks/oom c"}
				}
				require.Equal(t, want, slices.Clip(g.events.all()))
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

func TestADeadShimsOOMThatWasDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newDeadBundle(t)
		g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 137, At: time.Now()})
		g.rec.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleInitVictim}
		g.rec.Delivered = true
		require.Equal(t, 137, g.remove(t).ExitStatus)
		require.Empty(t, g.events.all())
	})
}

// containerd has the TaskOOM before the answer, or the hold timeout has passed; and
// where it kills this process too, the next one says the same.
func TestTheAnswerOfADeadShimWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newDeadBundle(t)
		answer := make(chan struct{})
		g.events.hold = answer
		g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
		start := time.Now()
		status := g.remove(t)
		require.Equal(t, timeout, time.Since(start))
		require.Equal(t, 137, status.ExitStatus)
		require.Empty(t, g.events.all())
		require.Len(t, g.left, 1)
		require.Equal(t, runtime.TaskOOMEventTopic, g.left[0].Topic)

		close(answer)
		g.source.set(oom.Evidence{Gone: true})
		status = g.stopOnce(t)
		require.Equal(t, 137, status.ExitStatus)
		require.Equal(t, []string{"/tasks/oom c"}, g.seen, "sent before anything was removed")
		require.Len(t, g.left, 1, "nothing is left to do")
		require.Equal(t, oom.RuleInitVictim, g.verdict(t).Rule)
	})
}

// Without a record that holds, the answer is upstream's.
func TestADeadShimWithoutARecord(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, g *deadBundle){
		"none":         func(*testing.T, *deadBundle) {},
		"empty":        func(t *testing.T, g *deadBundle) { put(t, g, "") },
		"torn":         func(t *testing.T, g *deadBundle) { put(t, g, `{"version":1,"id":"c"`) },
		"of the past":  func(t *testing.T, g *deadBundle) { put(t, g, `{"version":1,"id":"c","pid":7,"exitStatus":3}`) },
		"of another":   func(t *testing.T, g *deadBundle) { put(t, g, `{"version":1,"id":"d","pid":7}`+"\n") },
		"half an exit": func(t *testing.T, g *deadBundle) { put(t, g, `{"version":1,"id":"c","pid":7,"exitStatus":3}`+"\n") },
		"a folder": func(t *testing.T, g *deadBundle) {
			require.NoError(t, os.Mkdir(filepath.Join(g.Bundle, bundle.RecordFile), 0o700))
		},
		"a fifo": func(t *testing.T, g *deadBundle) {
			require.NoError(t, unix.Mkfifo(filepath.Join(g.Bundle, bundle.RecordFile), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newDeadBundle(t)
				arrange(t, g)
				require.Equal(t, g.removed, g.stopOnce(t))
				require.Empty(t, g.events.all())
			})
		})
	}
}
