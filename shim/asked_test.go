//go:build linux

package shim

import (
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// childKilledNow is the evidence of a ledger that has named a child of init.
func childKilledNow() oom.Evidence {
	now := time.Now()
	return oom.Evidence{
		Kills: 1, Last: now, Init: oom.No, Sent: oom.No, Cause: oom.CauseContainer,
		Victims: []oom.Victim{{At: now, Lineage: oom.LineageDescendant, Cause: oom.CauseContainer}},
	}
}

// What a signal is for, and whether it came before the kill, goes into the verdict, and
// so does the container's own grace.
func TestWhatWasAskedFor(t *testing.T) {
	pod := map[string]string{"io.kubernetes.cri.sandbox-id": "s"}
	for name, tc := range map[string]struct {
		annotations map[string]string
		signal      unix.Signal // 0 for none
		before      bool        // the kill is before the signal
		late        time.Duration
		status      int
		rule        oom.Rule
		ended       oom.Ended
	}{
		"SIGTERM after the kill":        {nil, unix.SIGTERM, true, time.Second, 1, oom.RuleStopped, oom.EndedStopped},
		"SIGTERM before the kill":       {nil, unix.SIGTERM, false, time.Second, 1, oom.RuleStopped, oom.EndedOOM},
		"a reload":                      {nil, unix.SIGHUP, true, time.Second, 1, oom.RuleWithinGrace, oom.EndedOOM},
		"CRI sends no reloads":          {pod, unix.SIGUSR1, true, time.Second, 1, oom.RuleStopped, oom.EndedStopped},
		"the image's stop signal":       {map[string]string{"org.opencontainers.image.stopSignal": "SIGUSR1"}, unix.SIGUSR1, true, time.Second, 1, oom.RuleStopped, oom.EndedStopped},
		"within the grace":              {nil, 0, true, 9 * time.Second, 1, oom.RuleWithinGrace, oom.EndedOOM},
		"beyond the grace":              {nil, 0, true, 11 * time.Second, 1, oom.RuleNothingKnown, oom.EndedExited},
		"within the container's grace":  {map[string]string{"oomwitness.io/grace": "1m"}, 0, true, 11 * time.Second, 1, oom.RuleWithinGrace, oom.EndedOOM},
		"beyond the container's grace":  {map[string]string{"oomwitness.io/grace": "0s"}, 0, true, time.Second, 1, oom.RuleNothingKnown, oom.EndedExited},
		"passed on, whatever the grace": {map[string]string{"oomwitness.io/grace": "0s"}, 0, true, time.Hour, 137, oom.RulePassedOn, oom.EndedOOM},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: annotated(t, tc.annotations)})
				require.NoError(t, err)
				killed := func() { b.source.set("c", childKilledNow()) }
				if tc.before {
					killed()
				}
				time.Sleep(tc.late)
				if tc.signal != 0 {
					_, err = b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(tc.signal)})
					require.NoError(t, err)
				}
				if !tc.before {
					time.Sleep(time.Second)
					killed()
				}
				b.task.exit(t, "c", tc.status)
				_, err = b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				v := b.container("c").verdict
				require.Equal(t, tc.rule, v.Rule)
				require.Equal(t, tc.ended, v.Ended)
			})
		})
	}
}
