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

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

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
			Rule: oom.RuleCounters, Evidence: "fake",
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
				settle()
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
		settle()
		one := []string{"/tasks/oom c", "/tasks/exit c", "/tasks/delete c"}
		require.Equal(t, append(append(one, one...), one...), b.events.all())
		require.Len(t, b.tombstones(), 1, "whose bundle is there")
		require.Len(t, b.containers, 1)
		require.Empty(t, b.byPid)
	})
}
