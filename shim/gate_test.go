//go:build linux

package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	runc "github.com/containerd/go-runc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
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
				synctest.Wait()
				require.Empty(t, seen, "released before the ack")
				require.Empty(t, b.events.all(), "the TaskExit must wait as well")

				close(answer)
				require.NoError(t, <-seen)
				synctest.Wait()
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
		synctest.Wait()
		b.task.publishExit(t, "c", init) // after the TaskDelete, as upstream may
		synctest.Wait()
		require.Empty(t, seen)
		close(answer)
		require.NoError(t, <-seen)
		synctest.Wait()
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
					synctest.Wait()
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
		synctest.Wait()
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
		synctest.Wait()
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
		synctest.Wait()
		require.Equal(t, []string{"/tasks/oom c"}, b.events.all())
		b.source.set("c", oom.Evidence{Gone: true}) // too late to matter
		b.task.exit(t, "c", 137)
		synctest.Wait()
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
		synctest.Wait()
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

func TestTheVerdictIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
		require.NoError(t, err)
		rec, err := bundle.ReadRecord(b.container("c").bundle)
		require.NoError(t, err)
		exit, ended := rec.Exit()
		require.True(t, ended)
		require.Equal(t, "c", rec.ID)
		require.Equal(t, 137, exit.Status)
		require.True(t, rec.Delivered)
		require.Equal(t, oom.Verdict{
			OOMKilled: true, Cause: oom.CauseContainer, Kills: 1, Ended: oom.EndedOOM,
			Rule: oom.RuleWithinGrace, Evidence: "fake",
		}, *rec.Verdict)
	})
}

func TestTroubleIsCountedAndReleasesTheExit(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*bench)
		what   string
	}{
		"unreadable evidence": {func(b *bench) { b.source.err = errors.New("malformed") }, "evidence not read"},
		"no evidence":         {func(b *bench) { b.source.armErr = errors.New("no such cgroup") }, "evidence not armed"},
		"cgroup gone":         {func(b *bench) { b.source.err = fmt.Errorf("read: %w", oom.ErrGone) }, "cgroup gone"},
		"bundle is gone": {func(b *bench) {
			_ = os.RemoveAll(b.container("c").bundle)
		}, "record not written"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				if name != "bundle is gone" {
					tc.change(b)
				}
				b.create(t, "c")
				if name == "bundle is gone" {
					tc.change(b)
				}
				b.task.exit(t, "c", 1)
				start := time.Now()
				_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				require.Zero(t, time.Since(start))
				synctest.Wait()
				want := 1
				if name == "bundle is gone" { // at the reap, and with the verdict
					want = 2
				}
				require.EqualValues(t, want, b.counts.of(tc.what))
			})
		})
	}
}

func TestShutdownWaitsForTheEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) {
			b.events.hold = func(string, string) <-chan struct{} {
				c := make(chan struct{})
				time.AfterFunc(time.Second, func() { close(c) })
				return c
			}
		})
		b.create(t, "c")
		b.task.exit(t, "c", 0)
		_, err := b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.NoError(t, err)
		b.sd.Shutdown()
		<-b.sd.Done()
		require.Equal(t, []string{"/tasks/exit c", "/tasks/delete c"}, b.events.all())
	})
}

// One that takes nothing holds the shim's end up for the hold timeout.
func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.events.fail = 1 << 30 })
		b.create(t, "c")
		ends(t, b)
		start := time.Now()
		b.sd.Shutdown()
		<-b.sd.Done()
		require.Equal(t, config.Default().HoldTimeout, time.Since(start))
		require.Empty(t, b.events.all())
	})
}

func TestAClientThatGoesAwayWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.events.fail = 1 << 30 })
		b.create(t, "c")
		b.source.set("c", killedNow())
		b.task.exit(t, "c", 137)
		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		start := time.Now()
		_, err := b.Wait(ctx, &taskAPI.WaitRequest{ID: "c"})
		require.Error(t, err)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestAnIDIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for range 3 {
			b.create(t, "c")
			_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: "c", Bundle: t.TempDir()})
			require.Error(t, err, "in use")
			b.source.set("c", killedNow())
			b.task.exit(t, "c", 137)
			_, err = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
			require.NoError(t, err)
			b.source.set("c", oom.Evidence{})
		}
		synctest.Wait()
		one := []string{"/tasks/oom c", "/tasks/exit c", "/tasks/delete c"}
		require.Equal(t, append(append(one, one...), one...), b.events.all())
		require.Len(t, b.tombstones(), 1, "whose bundle is there")
		require.Len(t, b.containers, 1)
		require.Empty(t, b.byPid)
	})
}
