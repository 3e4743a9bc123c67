//go:build linux

package deadshim

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

func put(t *testing.T, g *deadBundle, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(g.Bundle, bundle.RecordFile), []byte(text), 0o600))
}

// What a dead shim has recorded, and what its remover says.
func TestADeadShimsStatus(t *testing.T) {
	victim := func() oom.Evidence {
		return oom.Evidence{Kills: 1, Last: time.Now().Add(-time.Second), Init: oom.Yes, Cause: oom.CausePod}
	}
	verdict := &oom.Verdict{OOMKilled: true, Rule: oom.RuleInitVictim, Ended: oom.EndedOOM}
	for name, tc := range map[string]struct {
		arrange func(t *testing.T, g *deadBundle)
		want    int
	}{
		"not reaped, init was the victim": {func(_ *testing.T, g *deadBundle) { g.source.set(victim()) }, 217},
		"not reaped, nothing killed":      {func(*testing.T, *deadBundle) {}, 137},
		"reaped, init was the victim": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 137, time.Now())
			g.source.set(victim())
		}, 217},
		"decided": {func(_ *testing.T, g *deadBundle) {
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 9, At: time.Now()})
			g.rec.Verdict = verdict
		}, 217},
		"decided, and recorded by upstream": {func(t *testing.T, g *deadBundle) {
			g.exited(t, 9, time.Now())
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 9, At: time.Now()})
			g.rec.Verdict = verdict
		}, 217},
		"decided too late": {func(_ *testing.T, g *deadBundle) {
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 9, At: time.Now()})
			g.rec.Verdict, g.rec.TrueStatus = verdict, true
		}, 9},
		"init runs": {func(t *testing.T, g *deadBundle) {
			g.rec.Pid, g.rec.StartTicks = os.Getpid(), 0
			g.source.set(killedNow())
		}, 137},
		"no exit status asked for": {func(_ *testing.T, g *deadBundle) {
			g.rec.OOMExitCode = 0
			g.source.set(victim())
		}, 137},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newDeadBundle(t)
				g.rec.OOMExitCode = 217
				tc.arrange(t, g)
				require.Equal(t, tc.want, g.remove(t).ExitStatus)
				require.Equal(t, tc.want, g.stopOnce(t).ExitStatus, "containerd asks again where it was killed")
			})
		})
	}
}

// A shim that runs has reported the status; the removal after the Delete returns the
// same.
func TestALivingShimsStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		asIs bool
		want int
	}{
		"reported": {false, 217},
		"too late": {true, statusUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			g := newDeadBundle(t)
			g.live(t)
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 137, At: time.Now()})
			g.rec.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleInitVictim}
			g.rec.OOMExitCode, g.rec.TrueStatus = 217, tc.asIs
			require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
			status, err := g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) { return g.removed, nil })
			require.NoError(t, err)
			require.Equal(t, tc.want, status.ExitStatus)
			require.Empty(t, g.events.all())
		})
	}
}
