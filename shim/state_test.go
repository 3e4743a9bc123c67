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
)

// containerd gives State 2 s: by then the exit is shown, or init is running.
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
		require.Equal(t, config.Default().Bound, time.Since(start), "held back once")
		asksWait(t, b)
		start = time.Now()
		st, err = b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.NoError(t, err)
		require.Equal(t, tasktypes.Status_STOPPED, st.Status, "Wait has shown the exit")
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
