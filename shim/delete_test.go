//go:build linux

package shim

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
)

// containerd returns a Delete up while runc is at work, and asks again: runc goes
// on, is not started twice, and the answer is what it would have been. Meanwhile
// nobody waits for runc to learn the state.
func TestADeleteThatIsGivenUpGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		ends(t, b)
		asksWait(t, b)
		done := make(chan struct{})
		runs := 0
		b.task.onDelete = func() { runs++; <-done }

		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		_, err := b.Delete(ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.ErrorIs(t, errgrpc.ToNative(err), context.DeadlineExceeded)
		b.task.stateErr = errors.New("locked by the delete")
		st := requireState(t, b, tasktypes.Status_STOPPED)
		require.EqualValues(t, 3, st.ExitStatus)
		require.Equal(t, "/run/out", st.Stdout)

		again := make(chan *taskAPI.DeleteResponse, 1)
		go func() {
			resp, _ := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
			again <- resp
		}()
		settle()
		require.Empty(t, again)
		close(done)
		got := <-again
		require.NotNil(t, got)
		require.EqualValues(t, 3, got.ExitStatus)
		third, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.NoError(t, err, "that answer may be lost as well")
		require.Equal(t, got, third)
		require.Equal(t, 1, runs)
	})
}

// The same while a containerd starts: its State needs no upstream, its Wait shows
// the exit, and its Delete joins in.
func TestARestartMeetsADelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		isKilled(t, b)
		asksWait(t, b)
		done := make(chan struct{})
		b.task.onDelete = func() { <-done }
		go func() { _, _ = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"}) }()
		settle()
		b.task.stateErr = errors.New("locked by the delete")
		dies(t, b)
		isBack(t, b)
		connects(t, b)
		require.Equal(t, "/run/out", requireState(t, b, tasktypes.Status_RUNNING).Stdout)
		asksWait(t, b)
		require.Contains(t, b.events.all(), "/tasks/oom c")
		require.EqualValues(t, 137, requireState(t, b, tasktypes.Status_STOPPED).ExitStatus)
		close(done)
		deletes(t, b)
	})
}

// A delete that failed is tried anew.
func TestADeleteThatFailedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.ErrorContains(t, err, "running process")
		ends(t, b)
		deletes(t, b)
		settle()
		_, err = b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)))
	})
}

// The last metrics of a container that ended well are read when its exit has been
// shown, and before its cgroup is removed; where that hangs, for a while only.
func TestTheLastMetricsGoBeforeTheDelete(t *testing.T) {
	for name, hangs := range map[string]bool{"read": false, "hang": true} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t)
			b.createInPod(t, "c")
			connects(t, b)
			read := make(chan struct{})
			b.task.onStats = func() { <-read }
			deleted := make(chan time.Time, 1)
			b.task.onDelete = func() { deleted <- time.Now() }
			ends(t, b)
			asksWait(t, b)
			done := make(chan struct{})
			go func() {
				defer close(done)
				deletes(t, b)
			}()
			asked := time.Now()
			synctest.Wait()
			require.Empty(t, deleted)
			if !hangs {
				close(read)
			}
			<-done
			took := map[bool]time.Duration{false: 0, true: settleWait}[hangs]
			require.Equal(t, took, (<-deleted).Sub(asked))
			require.EqualValues(t, map[bool]int{true: 1}[hangs], b.counts.of("delete unsettled"))
			if hangs {
				close(read)
			}
		}))
	}
}

// A container that was never started has no exit: the Wait for its end gets upstream's answer
// when the container is deleted.
func TestAWaitEndsWithAContainerThatWasNeverStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		created, err := b.task.init("c")
		require.NoError(t, err)
		b.task.onDelete = func() { close(created.done) }
		waited := make(chan error, 1)
		go func() {
			_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
			waited <- err
		}()
		settle()
		require.Empty(t, waited)
		deletes(t, b)
		settle()
		require.Len(t, waited, 1)
		require.True(t, errdefs.IsNotFound(errgrpc.ToNative(<-waited)))
	})
}
