//go:build linux

package shim

import (
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// What a containerd that starts finds of a task that ended while there was none.
func TestAnExitSurvivesTheRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		dies(t, b)
		ends(t, b)
		isBack(t, b)
		connects(t, b)
		require.Len(t, pidsOf(t, b, "c"), 1)
		state, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.NoError(t, err)
		require.Equal(t, tasktypes.Status_STOPPED, state.Status)
		require.EqualValues(t, 3, state.ExitStatus)
		wait, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, 3, wait.ExitStatus)
		gone, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, 3, gone.ExitStatus)
		require.Equal(t, state.ExitedAt, gone.ExitedAt)
	})
}

// A containerd that starts acks events before anybody is subscribed: TaskOOM and TaskExit
// wait for a caller, or for the hold timeout, where nobody asks: a client that only
// subscribes gets both then.
func TestTheTaskExitWaitsForAContainerdThatStarts(t *testing.T) {
	const oom, exit = "/tasks/oom c", "/tasks/exit c"
	for name, tc := range map[string]struct {
		end   step
		path  step
		after []string
	}{
		"OOM, state":  {isKilled, asksState, []string{oom, exit}},
		"OOM, wait":   {isKilled, asksWait, []string{oom, exit}},
		"OOM, nobody": {isKilled, settles, []string{oom, exit}},
		"no OOM":      {ends, asksState, []string{exit}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.createInPod(t, "c")
				connects(t, b)
				dies(t, b)
				tc.end(t, b) // its events wait
				connects(t, b)
				isBack(t, b)
				time.Sleep(delivery.LastRetry)
				settle()
				require.Empty(t, b.events.all())
				tc.path(t, b)
				settle()
				require.Equal(t, tc.after, b.events.all())
				asksState(t, b)
			})
		})
	}
}

// What waits for a containerd that starts goes out when a client waits for the task,
// ahead of which containerd connects again.
func TestANewWaitIsNotHeld(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(*bench)
		want []string
	}{
		"exit": {func(*bench) {}, []string{"/tasks/exit c", "/tasks/delete c"}},
		"OOM":  {func(b *bench) { b.source.set("c", killedNow()) }, []string{"/tasks/oom c", "/tasks/exit c", "/tasks/delete c"}},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t)
			b.create(t, "c")
			connects(t, b)
			dies(t, b)
			isBack(t, b)
			connects(t, b)
			tc.end(b)
			b.task.exit(t, "c", 3)
			settle()
			ready := time.Now()
			reconnects(t, b)
			asksWait(t, b)
			deletes(t, b)
			settle()
			require.Less(t, time.Since(ready), time.Second)
			require.Equal(t, tc.want, b.events.all())
		}))
	}
}

// The same where the TaskOOM is on the wire when the task is asked for, and acked
// after that.
func TestATaskOOMIsAckedWhileTheTaskIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		dies(t, b)
		isKilled(t, b)
		connects(t, b)
		answer := b.events.holdOOM()
		isBack(t, b)
		time.Sleep(delivery.LastRetry)
		requireState(t, b, tasktypes.Status_RUNNING)
		close(answer)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
		asksWait(t, b)
		require.Len(t, b.events.all(), 2)
	})
}
