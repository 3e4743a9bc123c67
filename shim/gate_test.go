//go:build linux

package shim

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	runc "github.com/containerd/go-runc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
)

func killedNow() oom.Evidence {
	return oom.Evidence{Kills: 1, Last: time.Now(), Cause: oom.CauseContainer}
}

// The four API paths: each must show the exit only after containerd has
// acked the TaskOOM.
func TestNoPathReleasesTheExitBeforeTheAck(t *testing.T) {
	paths := map[string]func(b *bench) error{
		"wait": func(b *bench) error {
			_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
			return err
		},
		"state": func(b *bench) error { return asksUntilStopped(b) },
		"delete": func(b *bench) error {
			_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
			return err
		},
	}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				answer := b.events.holdOOM()
				b.create(t, "c")
				b.source.set("c", killedNow())
				b.task.exit(t, "c", 137)
				seen := make(chan error, 1)
				go func() { seen <- path(b) }()

				time.Sleep(config.Default().HoldTimeout - time.Millisecond)
				settle()
				require.Empty(t, seen, "released before the ack")
				require.Empty(t, b.events.all(), "the TaskExit must wait as well")

				close(answer)
				require.NoError(t, <-seen)
				settle()
				require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all()[:2])
			})
		})
	}
}

// Init runs when the delete is asked for, and has ended when it is carried out:
// the answer must wait all the same.
func TestAnExitInTheMomentOfTheDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		answer := b.events.holdOOM()
		b.create(t, "c")
		b.source.set("c", killedNow())
		var init *fakeInit
		b.task.onDelete = func() { init = b.task.end(t, "c", 137) }
		seen := make(chan error, 1)
		go func() {
			_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
			seen <- err
		}()
		settle()
		b.task.publishExit(t, "c", init) // after the TaskDelete, as upstream may
		settle()
		require.Empty(t, seen)
		close(answer)
		require.NoError(t, <-seen)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c", "/tasks/delete c"}, b.events.all())
	})
}

func TestTheHoldTimeoutReleasesTheExit(t *testing.T) {
	never := func(string, string) <-chan struct{} { return make(chan struct{}) }
	for name, tc := range map[string]struct {
		change func(*bench, *Options)
		oom    bool
	}{
		"containerd never answers": {func(b *bench, _ *Options) { b.events.hold = never }, true},
		"containerd is not there":  {func(b *bench, _ *Options) { b.events.fail = 1 << 30 }, true},
		"evidence hangs":           {func(b *bench, _ *Options) { b.source.block = make(chan struct{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, tc.change)
				b.create(t, "c")
				b.source.set("c", killedNow())
				b.task.exit(t, "c", 137)
				start := time.Now()
				_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, config.Default().HoldTimeout, time.Since(start))
				require.Equal(t, tc.oom, b.container("c").verdict.OOMKilled)
				require.EqualValues(t, 1, b.counts.of("hold timeout passed"))
				if b.source.block != nil {
					close(b.source.block)
					settle()
					require.True(t, b.container("c").verdict.OOMKilled, "late, but not lost")
					require.Contains(t, b.events.all(), "/tasks/oom c")
				}
			})
		})
	}
}

func TestALateContainerdGetsTheOOMFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.events.fail = 20 })
		b.create(t, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err, "released after the hold timeout")
		time.Sleep(time.Minute)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
		require.EqualValues(t, 20, b.counts.of("event retried"))
		require.EqualValues(t, 1, b.counts.of("hold timeout passed"))
	})
}

func TestOneContainersTroubleDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) {
			b.events.hold = func(_, id string) <-chan struct{} {
				if id == "stuck" {
					return make(chan struct{})
				}
				return nil
			}
		})
		b.create(t, "stuck")
		b.create(t, "fine")
		b.source.set("stuck", killedNow())
		b.source.set("fine", killedNow())
		b.task.exit(t, "stuck", 137)
		b.task.exit(t, "fine", 137)
		start := time.Now()
		_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "fine"})
		require.NoError(t, err)
		_, err = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "fine"})
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		require.Equal(t, []string{"/tasks/oom fine", "/tasks/exit fine"}, b.events.all()[:2])
		// What is left to write of the other goes into a bundle that is there.
		_, err = b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "stuck"})
		require.NoError(t, err)
		settle()
	})
}

func TestExecsPassUntouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		b.source.set("c", killedNow())
		start := time.Now()
		resp, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c", ExecID: "e"})
		require.NoError(t, err)
		require.EqualValues(t, 9, resp.ExitStatus)
		require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskExitEventTopic,
			&eventsapi.TaskExit{ContainerID: "c", ID: "e", Pid: 7, ExitStatus: 137}))
		synctest.Wait()
		require.Equal(t, []string{"/tasks/exit c"}, b.events.all())
		require.Zero(t, time.Since(start))
	})
}

// The evidence gets the processes of execs, and not init's.
func TestExecsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		i, err := b.task.init("c")
		require.NoError(t, err)
		_, err = b.Start(b.ctx, &taskAPI.StartRequest{ID: "c"})
		require.NoError(t, err)
		_, err = b.Start(b.ctx, &taskAPI.StartRequest{ID: "other", ExecID: "e"})
		require.Error(t, err)
		var started uint64
		b.task.onStart = func() { started = bpf.BootNow() }
		_, err = b.Start(b.ctx, &taskAPI.StartRequest{ID: "c", ExecID: "e"})
		require.NoError(t, err)
		for _, id := range []string{"c", "other"} {
			require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskExitEventTopic, &eventsapi.TaskExit{ContainerID: id, ID: "e", Pid: 7}))
		}
		b.task.exit(t, "c", 1)
		synctest.Wait()
		require.Equal(t, []string{fmt.Sprintf("c: %d false", i.pid), "c: 7 true"}, b.source.execs)
		require.Less(t, b.source.at[0], started)
		require.Greater(t, b.source.at[1], started)
	})
}

// The reaper reports the exit before upstream does; the exit gate must not wait
// for upstream, whose handling comes later.
func TestTheGateStartsAtTheReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		b.source.set("c", killedNow())
		i, err := b.task.init("c")
		require.NoError(t, err)
		b.exits <- runc.Exit{Pid: i.pid, Status: 137, Timestamp: time.Now()}
		settle()
		require.Equal(t, []string{"/tasks/oom c"}, b.events.all())
		b.source.set("c", oom.Evidence{Gone: true}) // too late to matter
		b.task.exit(t, "c", 137)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
	})
}

// A restored container has no init until Start: that is where it is armed.
func TestARestoredContainerIsArmedAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: t.TempDir(), Checkpoint: "/image"})
		require.NoError(t, err)
		require.Zero(t, b.source.pidOf("c"))
		resp, err := b.Start(b.ctx, &taskAPI.StartRequest{ID: "c"})
		require.NoError(t, err)
		require.EqualValues(t, resp.Pid, b.source.pidOf("c"))
		b.source.set("c", killedNow())
		b.exits <- runc.Exit{Pid: int(resp.Pid), Status: 137, Timestamp: time.Now()}
		b.task.exit(t, "c", 137)
		settle()
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
	})
}

func TestAStopThatCouldNotBeSentIsNone(t *testing.T) {
	for name, tc := range map[string]struct {
		killErr error
		oom     bool
	}{
		"sent":     {nil, false},
		"too late": {errors.New("process already finished"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.create(t, "c")
				b.task.killErr = tc.killErr
				b.task.onKill = func() { // init dies while the runtime is being asked
					b.source.set("c", killedNow())
					b.task.exit(t, "c", 137)
					time.Sleep(time.Second)
				}
				_, _ = b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL)})
				_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				require.Equal(t, tc.oom, b.container("c").verdict.OOMKilled)
			})
		})
	}
}
