//go:build linux

package shim

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	crunc "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	runc "github.com/containerd/go-runc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/deadshim"
)

const ownStatus = 217

// createOwn creates a container with an exit status of its own for an OOM.
func createOwn(t *testing.T, b *bench, id string) {
	t.Helper()
	bundle := annotated(t, map[string]string{"oomwitness.io/oom-exit-code": "217"})
	_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: id, Bundle: bundle})
	require.NoError(t, err)
}

// allPaths are what those say of c's exit that can be asked.
func allPaths(t *testing.T, b *bench) (*taskAPI.StateResponse, *taskAPI.WaitResponse, *taskAPI.DeleteResponse) {
	t.Helper()
	st, err := b.State(b.ctx, &taskAPI.StateRequest{ID: "c"})
	require.NoError(t, err)
	w, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
	require.NoError(t, err)
	d, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
	require.NoError(t, err)
	return st, w, d
}

// statuses are what each API path says of c's exit, in this order: State, Wait,
// Delete, TaskExit, TaskDelete, and then to another containerd State, Wait and
// Delete.
func statuses(t *testing.T, b *bench) []uint32 {
	t.Helper()
	ask := func() []uint32 {
		st, w, d := allPaths(t, b)
		return []uint32{st.ExitStatus, w.ExitStatus, d.ExitStatus}
	}
	all := ask()
	settle()
	all = append(all, b.events.statuses...)
	b.events.die()
	b.events.back()
	connects(t, b)
	return append(all, ask()...)
}

func eightTimes(status uint32) []uint32 {
	all := make([]uint32, 8)
	for i := range all {
		all[i] = status
	}
	return all
}

// The status of the pod's choice is reported where the verdict is OOM, by every
// API path, and nowhere else.
func TestEveryPathReportsTheSameStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(t *testing.T, b *bench)
		true int
		want uint32
	}{
		"OOM": {func(t *testing.T, b *bench) {
			b.source.set("c", killedNow())
			b.task.exit(t, "c", 137)
		}, 137, ownStatus},
		"OOM of a child": {func(t *testing.T, b *bench) {
			b.source.set("c", killedNow())
			b.task.exit(t, "c", 1)
		}, 1, ownStatus},
		"SIGKILL from outside": {func(t *testing.T, b *bench) { b.task.exit(t, "c", 137) }, 137, 137},
		"stopped": {func(t *testing.T, b *bench) {
			b.source.set("c", killedNow())
			_, err := b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)})
			require.NoError(t, err)
			b.task.exit(t, "c", 143)
		}, 143, 143},
		"exited 0": {func(t *testing.T, b *bench) {
			b.source.set("c", killedNow())
			b.task.exit(t, "c", 0)
		}, 0, 0},
		"exited 1": {func(t *testing.T, b *bench) { b.task.exit(t, "c", 1) }, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				createOwn(t, b, "c")
				r := b.container("c")
				tc.end(t, b)
				settle()
				rec, err := bundle.ReadRecord(r.bundle)
				require.NoError(t, err)
				require.Equal(t, tc.true, *rec.Status, "the record has the true one")
				require.Equal(t, ownStatus, rec.OOMExitCode)
				require.False(t, rec.TrueStatus)
				require.Equal(t, eightTimes(tc.want), statuses(t, b))
			})
		})
	}
}

// An exit that ends between the question and the delete is first seen by that.
func TestTheDeleteIsTheFirstToReportTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		answer := b.events.holdOOM()
		createOwn(t, b, "c")
		b.source.set("c", killedNow())
		b.task.onDelete = func() { b.task.end(t, "c", 137) }
		seen := make(chan uint32, 1)
		go func() {
			d, _ := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
			seen <- d.GetExitStatus()
		}()
		settle()
		require.Empty(t, seen)
		close(answer)
		require.EqualValues(t, ownStatus, <-seen)
		time.Sleep(time.Minute)
		settle()
		require.Equal(t, []uint32{ownStatus}, b.events.statuses, "the TaskDelete; nobody published a TaskExit")
	})
}

// A verdict that comes when the true status was reported changes it no more: not on
// any API path, nor for whoever removes the container of a shim that has died. Its
// TaskOOM comes.
func TestALateVerdictChangesNoStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.source.block = make(chan struct{}) })
		createOwn(t, b, "c")
		r := b.container("c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		start := time.Now()
		w, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, 137, w.ExitStatus)
		require.Equal(t, config.Default().HoldTimeout, time.Since(start))
		rec, err := bundle.ReadRecord(r.bundle)
		require.NoError(t, err)
		require.True(t, rec.TrueStatus, "on record before it was reported")
		require.Nil(t, rec.Verdict)
		require.Equal(t, 137, stopAfterDeath(t, b, r, killedNow()), "the shim dies before its verdict")

		close(b.source.block)
		settle()
		require.True(t, r.verdict.OOMKilled)
		require.Contains(t, b.events.all(), "/tasks/oom c")
		require.Equal(t, 137, stopAfterDeath(t, b, r, killedNow()), "and after it")
		require.Equal(t, eightTimes(137), statuses(t, b))
	})
}

// Where the hold timeout passes and the verdict is there, for want of an
// ack, the status of its choice is reported.
func TestTheHoldTimeoutPassesAfterTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.events.fail = 12 })
		createOwn(t, b, "c")
		r := b.container("c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		w, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, ownStatus, w.ExitStatus)
		require.EqualValues(t, 1, b.counts.of("hold timeout passed"))
		require.Equal(t, ownStatus, stopAfterDeath(t, b, r, oom.Evidence{Gone: true}))
		time.Sleep(time.Minute)
		settle()
		require.Equal(t, eightTimes(ownStatus), statuses(t, b))
	})
}

// stopAfterDeath returns the status that a remover would give if the shim had died
// now. It leaves the bundle as it was.
func stopAfterDeath(t *testing.T, b *bench, r *container, ev oom.Evidence) int {
	t.Helper()
	rec, err := bundle.ReadRecord(r.bundle)
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, bundle.WriteRecord(dir, rec))
	answer := upstream.StopStatus{ExitStatus: 137, ExitedAt: time.Now()}
	if e, ended := rec.Exit(); ended { // upstream records it too
		answer = upstream.StopStatus{Pid: e.Pid, ExitStatus: e.Status, ExitedAt: e.At}
		require.NoError(t, crunc.WriteExitStatus(dir, runc.Exit{Pid: e.Pid, Status: e.Status, Timestamp: e.At}))
	}
	source := &fakeSource{ev: make(map[string]oom.Evidence)}
	source.set("c", ev)
	removal := deadshim.Removal{
		ID: "c", Bundle: dir, Config: config.Default(), Sources: func() []oom.Source { return []oom.Source{source} },
		Client: &fakeEvents{}, Count: new(counters).add, Reachable: func() bool { return true },
	}
	status, err := removal.Run(b.ctx, func(context.Context, string) (upstream.StopStatus, error) { return answer, nil })
	require.NoError(t, err)
	return status.ExitStatus
}

// Upstream publishes a TaskDelete in its own time: by then the ID may be another
// container's. containerd has had the TaskDelete of the shim's own by then.
func TestATaskDeleteOfAnEarlierContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.task.late = make(chan struct{})
		createOwn(t, b, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		deletes(t, b)
		settle()
		require.Equal(t, []uint32{ownStatus, ownStatus}, b.events.statuses, "exit, delete")
		b.source.set("c", oom.Evidence{})
		b.create(t, "c")
		close(b.task.late)
		settle()
		b.task.exit(t, "c", 3)
		asksWait(t, b)
		settle() // the TaskExit gives way to the answer
		require.Equal(t, []uint32{ownStatus, ownStatus, 3}, b.events.statuses, "nothing of the first one")
		deletes(t, b)
		settle()
		require.Equal(t, []uint32{ownStatus, ownStatus, 3, 3}, b.events.statuses)
	})
}

// A restored container has the policy from its Start on.
func TestARestoredContainersStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		bundle := annotated(t, map[string]string{"oomwitness.io/oom-exit-code": "217"})
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: bundle, Checkpoint: "/image"})
		require.NoError(t, err)
		resp, err := b.Start(b.ctx, &taskAPI.StartRequest{ID: "c"})
		require.NoError(t, err)
		b.source.set("c", killedNow())
		b.exits <- runc.Exit{Pid: int(resp.Pid), Status: 137, Timestamp: time.Now()}
		b.task.exit(t, "c", 137)
		require.Equal(t, eightTimes(ownStatus), statuses(t, b))
	})
}

// Upstream comes to an exit seconds after it was reaped. Every API path has the time
// of the reaping.
func TestAllPathsHaveTheTimeOfTheReaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		i, err := b.task.init("c")
		require.NoError(t, err)
		reaped := time.Now()
		b.exits <- runc.Exit{Pid: i.pid, Status: 3, Timestamp: reaped}
		time.Sleep(2 * time.Second)
		b.task.exit(t, "c", 3)
		ask := func() {
			st, w, d := allPaths(t, b)
			for path, at := range map[string]time.Time{
				"State": st.ExitedAt.AsTime(), "Wait": w.ExitedAt.AsTime(), "Delete": d.ExitedAt.AsTime(),
			} {
				require.WithinDuration(t, reaped, at, 0, path)
			}
		}
		ask()
		settle()
		require.Equal(t, []string{"/tasks/exit c", "/tasks/delete c"}, b.events.all())
		for _, at := range b.events.times {
			require.WithinDuration(t, reaped, at, 0)
		}
		b.events.die() // what another containerd learns of a container that was deleted
		b.events.back()
		ask()
	})
}
