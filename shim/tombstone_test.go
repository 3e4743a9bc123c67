//go:build linux

package shim

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
)

// requireGone wants every API path to say that there is no such container.
func requireGone(t *testing.T, b *bench, why string) {
	t.Helper()
	_, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
	require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)), why)
	_, err = b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
	require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)), why)
	_, err = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
	require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)), why)
}

// containerd dies between the answer to its Delete and the removal of the
// bundle: the next one gets the same again, the OOM first.
func TestTheNextInstanceFindsADeletedContainer(t *testing.T) {
	for name, tc := range map[string]struct {
		end    step
		status uint32
		oom    int
	}{
		"OOM":     {isKilled, 137, 1},
		"not OOM": {ends, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.create(t, "c")
				connects(t, b)
				tc.end(t, b)
				asksWait(t, b)
				first, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
				require.NoError(t, err)
				settle()
				requireGone(t, b, "who deleted it")

				dies(t, b)
				isBack(t, b)
				conn, err := b.Connect(b.ctx, &taskAPI.ConnectRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, first.Pid, conn.TaskPid)
				require.Equal(t, []uint32{first.Pid}, pidsOf(t, b, "c"))
				require.Zero(t, strings.Count(strings.Join(b.events.all(), " "), "/tasks/oom c"))
				st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, tasktypes.Status_STOPPED, st.Status)
				require.Equal(t, tc.status, st.ExitStatus)
				require.Equal(t, first.ExitedAt.AsTime(), st.ExitedAt.AsTime())
				require.Equal(t, tc.oom, strings.Count(strings.Join(b.events.all(), " "), "/tasks/oom c"), "before the answer")
				w, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, tc.status, w.ExitStatus)
				again, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, first, again)
				require.Equal(t, tc.oom, strings.Count(strings.Join(b.events.all(), " "), "/tasks/oom c"))

				require.NoError(t, os.RemoveAll(tombstoneOf(b).bundle))
				requireGone(t, b, "its bundle is removed")
				require.Empty(t, b.tombstones())
			})
		})
	}
}

func tombstoneOf(b *bench) *container { return b.tombstones()["c"] }

// What is kept of deleted containers is bounded by the bundles that are there.
func TestTombstonesGoWithTheirBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for range 3 {
			b.create(t, "c")
			ends(t, b)
			deletes(t, b)
			require.Len(t, b.tombstones(), 1, "the ID was used again")
		}
		require.NoError(t, os.RemoveAll(tombstoneOf(b).bundle))
		b.create(t, "d")
		b.task.exit(t, "d", 0)
		settle()
		_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "d"})
		require.NoError(t, err)
		require.Len(t, b.tombstones(), 1)
		require.NotNil(t, b.tombstones()["d"])
	})
}

// containerd returns a Delete up that takes too long, and asks again when the
// container is gone: it gets the answer that was lost.
func TestALostAnswerToDeleteIsGivenAgain(t *testing.T) {
	const given = 10 * time.Second
	for name, tc := range map[string]struct {
		slow func(giveUp func())
		lost bool
	}{
		"given up":   {func(giveUp func()) { giveUp(); time.Sleep(time.Second) }, true},
		"nearly":     {func(func()) { time.Sleep(given * 3 / 4) }, true},
		"soon there": {func(func()) { time.Sleep(given / 4) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.create(t, "c")
				connects(t, b)
				isKilled(t, b)
				asksWait(t, b)
				ctx, giveUp := context.WithTimeout(b.ctx, given)
				defer giveUp()
				b.task.onDelete = func() { tc.slow(giveUp) }
				first, err := b.Delete(ctx, &taskAPI.DeleteRequest{ID: "c"})
				require.Equal(t, ctx.Err() != nil, err != nil)
				settle()
				if tc.lost {
					again, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
					require.NoError(t, err)
					require.EqualValues(t, 137, again.ExitStatus)
					if first != nil {
						require.Equal(t, first, again)
					}
				} else {
					requireGone(t, b, "nobody asks again")
					time.Sleep(given)
					again, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
					require.NoError(t, err, "a containerd that was stopped finds its time over, and asks again")
					require.Equal(t, first, again)
				}
				require.NoError(t, os.RemoveAll(tombstoneOf(b).bundle))
				requireGone(t, b, "its bundle is removed")
			})
		})
	}
}

// A containerd that is stopped in good order closes its events socket first, and
// deletes on, as the same instance still: TestAnInstanceLastsAsLongAsItsProcess.
func TestAContainerdThatEndsDeletes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		connects(t, b)
		b.task.exit(t, "c", 3)
		settle()
		b.events.stop()
		_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.NoError(t, err)
		b.events.die()
		b.events.back()
		resp, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
		require.NoError(t, err)
		require.Len(t, resp.Processes, 1)
		st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, 3, st.ExitStatus)
	})
}
