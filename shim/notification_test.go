//go:build linux

package shim

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/shim/config"
)

// Upstream's watcher publishes at any kill. That must not reach containerd by
// itself, nor twice, and never for a clean exit.
func TestNotificationsArePublishedOnlyWhenDue(t *testing.T) {
	for name, tc := range map[string]struct {
		report config.Report
		status int
		after  time.Duration
		want   []string
	}{
		"exit mode, clean exit":           {config.ReportExit, 0, time.Second, []string{"/tasks/exit c"}},
		"exit mode, long after, status 1": {config.ReportExit, 1, time.Hour, []string{"/tasks/exit c"}},
		"exit mode, at once, status 1":    {config.ReportExit, 1, 0, []string{"/tasks/oom c", "/tasks/exit c"}},
		"live mode, clean exit":           {config.ReportLive, 0, time.Second, []string{"/tasks/oom c", "/tasks/exit c"}},
		"live mode, killed":               {config.ReportLive, 137, 0, []string{"/tasks/oom c", "/tasks/exit c"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(_ *bench, o *Options) { o.Config.Report = tc.report })
				b.create(t, "c")
				b.source.set("c", killedNow())
				var watchers sync.WaitGroup
				for range 8 {
					watchers.Go(func() {
						_ = b.task.pub.Publish(b.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: "c"})
					})
				}
				watchers.Wait()
				settle()
				time.Sleep(tc.after)
				b.task.exit(t, "c", tc.status)
				_, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
				require.NoError(t, err)
				settle()
				require.Equal(t, tc.want, b.events.all())
			})
		})
	}
}

func TestANotificationThatComesBeforeTheCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(_ *bench, o *Options) { o.Config.Report = config.ReportLive })
		b.create(t, "c")
		require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: "c"}))
		time.Sleep(10 * time.Millisecond)
		b.source.set("c", killedNow())
		time.Sleep(100 * time.Millisecond)
		settle()
		require.Equal(t, []string{"/tasks/oom c"}, b.events.all())
	})
}
