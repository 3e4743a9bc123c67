//go:build linux

package shim

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// Steps of the test below: what containerd does, and what happens to it.
type step func(t *testing.T, b *bench)

func connects(t *testing.T, b *bench) {
	t.Helper()
	reconnects(t, b)
	_, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
	require.NoError(t, err)
}

// reconnects is how containerd begins to wait, too.
func reconnects(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.Connect(b.ctx, &taskAPI.ConnectRequest{ID: "c"})
	require.NoError(t, err)
}

func asksState(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
	require.NoError(t, err)
}

func asksWait(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
	require.NoError(t, err)
}

func deletes(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
	require.NoError(t, err)
}

// isKilled has init end by the OOM killer, and lets the shim do what it can.
func isKilled(t *testing.T, b *bench) {
	t.Helper()
	b.source.set("c", killedNow())
	b.task.exit(t, "c", 137)
	settles(t, b)
}

func ends(t *testing.T, b *bench) {
	t.Helper()
	b.task.exit(t, "c", 3)
	settles(t, b)
}

func dies(_ *testing.T, b *bench)    { b.events.die() }
func isBack(_ *testing.T, b *bench)  { b.events.back() }
func settles(_ *testing.T, _ *bench) { time.Sleep(time.Minute); settle() }

// Each order of what a containerd that starts does and what becomes of a
// TaskOOM. The last containerd must have acked it after it had asked for the
// task, and no containerd needlessly twice. The hold timeout passes while init is killed:
// one that starts by then and has not asked gets the TaskOOM once more, for clients
// that only subscribe.
func TestTheOOMIsDeliveredToTheInstanceThatAsks(t *testing.T) {
	for name, tc := range map[string]struct {
		steps []step
		want  int // TaskOOMs that the last containerd takes
	}{
		"one for all API paths": {
			[]step{connects, isKilled, asksWait, asksState, asksState, deletes}, 1},
		"nobody waited": {
			[]step{connects, isKilled, asksState, deletes}, 1},
		"acked by one before, state": {
			[]step{connects, isKilled, asksWait, dies, isBack, connects, asksState, asksState, deletes}, 1},
		"acked by one before, wait": {
			[]step{connects, isKilled, asksWait, dies, isBack, connects, asksWait, asksState}, 1},
		"acked by one before, delete": {
			[]step{connects, isKilled, asksWait, dies, isBack, connects, deletes}, 1},
		"acked by one before that had no Connect": {
			[]step{isKilled, asksWait, dies, isBack, connects, asksState}, 1},
		"killed while there is none, asked before it is acked": {
			[]step{connects, dies, isKilled, isBack, connects, asksState, deletes}, 1},
		"killed while there is none, acked before it is asked": { // CRI may not have subscribed
			[]step{connects, dies, isKilled, isBack, connects, settles, asksState, asksState, deletes}, 2},
		"killed when asked, while it starts": {
			[]step{connects, dies, isBack, connects, asksState, isKilled, asksState, deletes}, 1},
		"killed while it starts": {
			[]step{connects, dies, isBack, connects, isKilled, asksState, asksState, deletes}, 2},
		"two starts, delivered to the first": {
			[]step{connects, isKilled, dies, isBack, connects, asksState, dies, isBack, connects, asksState, deletes}, 1},
		"two starts, nothing delivered to the first": {
			[]step{connects, dies, isBack, connects, asksState, dies, isBack, connects, isKilled, asksState, deletes}, 2},
		"killed while the one that made it begins to wait": {
			[]step{connects, reconnects, isKilled, asksWait, asksState, deletes}, 1},
		"killed while one that started before begins to wait": {
			[]step{connects, dies, isBack, connects, asksState, reconnects, isKilled, asksWait, asksState, deletes}, 1},
		"not OOM": {
			[]step{connects, ends, asksWait, dies, isBack, connects, asksState, deletes}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.createInPod(t, "c")
				settle()
				for _, s := range tc.steps {
					s(t, b)
					settle()
				}
				acked := strings.Count(strings.Join(b.events.all(), " "), "/tasks/oom c")
				require.Equal(t, tc.want, acked, "%v", b.events.all())
			})
		})
	}
}

// The answer comes after the ack, or when the hold timeout has passed; the
// TaskOOM stays in the queue then, and is not sent twice.
func TestTheAnswerWaitsUntilTheOOMIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		isKilled(t, b)
		dies(t, b)
		isBack(t, b)
		answer := b.events.holdOOM()
		connects(t, b)
		start := time.Now()
		require.NoError(t, asksUntilStopped(b))
		require.Equal(t, config.Default().HoldTimeout, time.Since(start))
		require.Empty(t, b.events.all())

		asksState(t, b)
		deletes(t, b)
		require.Equal(t, config.Default().HoldTimeout, time.Since(start), "a containerd that starts is held back once")
		close(answer)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/delete c"}, b.events.all())
	})
}

// containerd dies between the TaskOOM and the TaskExit: the one that takes the
// TaskExit has acked a TaskOOM before it. The explorer found this order.
func TestTheTaskExitFollowsATaskOOMInEachInstance(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		want   []string
	}{
		"OOM":     {137, []string{"/tasks/oom c", "/tasks/exit c"}},
		"not OOM": {3, []string{"/tasks/exit c"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.create(t, "c")
				connects(t, b)
				if tc.status == 137 {
					b.source.set("c", killedNow())
				}
				onTheWire := make(chan struct{})
				b.events.hold = func(topic, _ string) <-chan struct{} {
					if topic == runtime.TaskExitEventTopic {
						return onTheWire
					}
					return nil
				}
				b.task.exit(t, "c", tc.status)
				settle()
				require.NotContains(t, b.events.all(), "/tasks/exit c")
				dies(t, b)
				close(onTheWire)
				settle()
				isBack(t, b)
				settles(t, b)
				require.Equal(t, tc.want, b.events.all())
			})
		})
	}
}

// A caller whose containerd is gone is subscribed no longer: it must not stand for the
// one that has come.
func TestACallerThatIsGoneGetsNoTaskOOM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.createInPod(t, "c")
		connects(t, b)
		dies(t, b)
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		ctx, cancel := context.WithCancel(b.ctx)
		gone := make(chan error, 1)
		go func() {
			_, err := b.State(ctx, &taskAPI.StateRequest{ID: "c"})
			gone <- err
		}()
		settle()
		cancel()
		require.Error(t, <-gone)
		isBack(t, b)
		connects(t, b)
		settles(t, b)
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
		asksWait(t, b)
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c", "/tasks/oom c"}, b.events.all())
	})
}

// A client that only subscribes, as Docker does, asks for the task when it has the
// TaskExit: the TaskOOM waits until this client is subscribed, and goes out once.
func TestAClientThatOnlySubscribesGetsOneTaskOOM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		for _, s := range []step{connects, dies, isKilled, isBack, connects, settles, asksState} {
			s(t, b)
			settle()
		}
		rec, err := bundle.ReadRecord(b.container("c").bundle)
		require.NoError(t, err)
		require.True(t, rec.Delivered, "the delete action publishes nothing")
		deletes(t, b)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all()[:2])
		require.NotContains(t, b.events.all()[2:], "/tasks/oom c")
	})
}

// The record says acked only while the instance to which TaskOOM was delivered may still be there.
func TestTheRecordSaysDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		delivered := func() bool {
			rec, err := bundle.ReadRecord(b.container("c").bundle)
			require.NoError(t, err)
			return rec.Delivered
		}
		connects(t, b)
		isKilled(t, b)
		require.True(t, delivered())
		connects(t, b) // nobody new
		require.True(t, delivered())
		dies(t, b)
		isBack(t, b)
		connects(t, b)
		require.False(t, delivered())
		asksState(t, b)
		settle()
		require.True(t, delivered())
	})
}
