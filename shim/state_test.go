//go:build linux

package shim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// containerd returns State 2 s: by then the exit is released, or init is running.
func TestStateIsAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		answer := b.events.holdOOM()
		b.create(t, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		start := time.Now()
		st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.NoError(t, err)
		require.Less(t, time.Since(start), 2*time.Second)
		require.Equal(t, tasktypes.Status_RUNNING, st.Status)
		require.NotZero(t, st.Pid)
		require.Zero(t, st.ExitStatus)
		require.Nil(t, st.ExitedAt)
		ctx, giveUp := context.WithCancel(b.ctx)
		giveUp()
		_, err = b.State(ctx, &taskAPI.StateRequest{ID: "c"})
		require.Error(t, err, "nobody asks any more")
		require.NoError(t, asksUntilStopped(b))
		require.Equal(t, config.Default().HoldTimeout, time.Since(start), "held back once")
		asksWait(t, b)
		start = time.Now()
		st, err = b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.NoError(t, err)
		require.Equal(t, tasktypes.Status_STOPPED, st.Status, "Wait has returned the exit")
		require.EqualValues(t, 137, st.ExitStatus)
		require.Zero(t, time.Since(start))
		close(answer)
	})
}

// asksUntilStopped asks for the state until it shows the exit.
func asksUntilStopped(b *bench) error {
	for {
		st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		if err != nil || st.Status == tasktypes.Status_STOPPED {
			return err
		}
	}
}

// createInPod makes a container as CRI does.
func (b *bench) createInPod(t *testing.T, id string) {
	t.Helper()
	bundle := annotated(t, map[string]string{"io.kubernetes.cri.sandbox-id": "s", "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": id})
	_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: id, Bundle: bundle, Stdout: "/run/out"})
	require.NoError(t, err)
}

func requireState(t *testing.T, b *bench, want tasktypes.Status) *taskAPI.StateResponse {
	t.Helper()
	start := time.Now()
	st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
	require.NoError(t, err)
	require.Equal(t, want, st.Status)
	require.Zero(t, time.Since(start), "not held back")
	return st
}

// CRI's exit.RecoveryTime asks twice for the state and then waits for what runs. What has
// stopped it would delete within the 10 s that it has for all.
func TestARecoveredExitIsReleasedByWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		isKilled(t, b)
		requireState(t, b, tasktypes.Status_STOPPED) // who made it has been there all the time
		for range 2 {
			dies(t, b)
			isBack(t, b)
			connects(t, b)
			for range 2 {
				st := requireState(t, b, tasktypes.Status_RUNNING)
				require.NotZero(t, st.Pid)
				require.Zero(t, st.ExitStatus)
				require.Nil(t, st.ExitedAt)
				settle()
				require.Equal(t, []string{"/tasks/oom c"}, b.events.all(), "on its way before the Wait")
			}
			w, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
			require.NoError(t, err)
			require.EqualValues(t, 137, w.ExitStatus)
			require.EqualValues(t, 137, requireState(t, b, tasktypes.Status_STOPPED).ExitStatus)
		}
		deletes(t, b)
	})
}

// Where nobody waits the exit is not hidden for longer than a exit.RecoveryTime may take.
func TestARecoveredExitIsReleasedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		ends(t, b)
		dies(t, b)
		isBack(t, b)
		connects(t, b)
		settles(t, b)
		start := time.Now()
		requireState(t, b, tasktypes.Status_RUNNING)
		time.Sleep(exit.RecoveryTime - time.Millisecond)
		requireState(t, b, tasktypes.Status_RUNNING)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 3, requireState(t, b, tasktypes.Status_STOPPED).ExitStatus)
		require.Equal(t, exit.RecoveryTime, time.Since(start))
	})
}

// A Wait of the containerd before, answered late, has returned nothing to the next one.
func TestAWaitReleasesItsOwnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		answer := b.events.holdOOM()
		b.createInPod(t, "c")
		connects(t, b)
		b.source.set("c", killedNow())
		old := make(chan struct{})
		go func() {
			defer close(old)
			_, _ = b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		}()
		b.task.exit(t, "c", 137)
		settle()
		dies(t, b)
		isBack(t, b)
		connects(t, b)
		requireState(t, b, tasktypes.Status_RUNNING)
		close(answer)
		<-old
		requireState(t, b, tasktypes.Status_RUNNING)
		asksWait(t, b)
		requireState(t, b, tasktypes.Status_STOPPED)
	})
}
