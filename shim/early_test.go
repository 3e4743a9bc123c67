//go:build linux

package shim

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
)

// initKilled is what the ledger says once init is a victim.
func initKilled() oom.Evidence {
	ev := killedNow()
	ev.Init = oom.Yes
	return ev
}

// notifies has upstream's watcher see a kill.
func notifies(t *testing.T, b *bench) {
	t.Helper()
	require.NoError(t, b.task.pub.Publish(b.ctx, runtime.TaskOOMEventTopic, &eventsapi.TaskOOM{ContainerID: "c"}))
}

// isNamed has the ledger name init, and upstream's watcher see it.
func isNamed(t *testing.T, b *bench) {
	t.Helper()
	b.source.set("c", initKilled())
	notifies(t, b)
	settle()
}

// killsMore has the rest of a group die.
func killsMore(_ *testing.T, b *bench) {
	ev := initKilled()
	ev.Kills = 5
	b.source.set("c", ev)
}

func losesTheLedger(_ *testing.T, b *bench) { b.source.fail(errors.New("not there")) }

func isAskedToStop(t *testing.T, b *bench) {
	t.Helper()
	_, err := b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL)})
	require.NoError(t, err)
}

func endsKilled(t *testing.T, b *bench) {
	t.Helper()
	b.task.exit(t, "c", 137)
	settles(t, b)
}

func endsCleanly(t *testing.T, b *bench) {
	t.Helper()
	b.task.exit(t, "c", 0)
	settles(t, b)
}

// Where the ledger names init at an OOM notification, containerd has the TaskOOM before init
// was reaped, once, and the verdict is the same.
func TestATaskOOMBeforeTheEnd(t *testing.T) {
	const killed, exited = "/tasks/oom c", "/tasks/exit c"
	for name, tc := range map[string]struct {
		steps []step
		want  []string // that the containerd of the end has acked
	}{
		"not reaped yet":              {[]step{isNamed}, []string{killed}},
		"reaped":                      {[]step{isNamed, endsKilled, asksWait}, []string{killed, exited}},
		"notified twice":              {[]step{isNamed, isNamed, endsKilled, asksWait}, []string{killed, exited}},
		"the group after it":          {[]step{isNamed, killsMore, notifies, endsKilled, asksWait}, []string{killed, exited}},
		"stopped after it":            {[]step{isNamed, isAskedToStop, endsKilled, asksWait}, []string{killed, exited}},
		"the ledger lost after it":    {[]step{isNamed, losesTheLedger, isAskedToStop, endsKilled, asksWait}, []string{killed, exited}},
		"clean, say counters":         {[]step{isNamed, endsCleanly, asksWait}, []string{killed, exited}},
		"containerd starts after it":  {[]step{isNamed, dies, isBack, connects, endsKilled, asksState, asksWait}, []string{killed, exited, killed}}, // for who only subscribes, and for who asks
		"it starts after the end":     {[]step{isNamed, dies, endsKilled, isBack, connects, asksState, asksWait}, []string{killed, exited}},
		"acked before it subscribes":  {[]step{dies, connects, isNamed, isBack, settles, asksState, endsKilled, asksWait}, []string{killed, killed, exited}},
		"a containerd that is silent": {[]step{dies, isNamed, isBack, settles}, []string{killed}},
	} {
		for _, report := range []config.Report{config.ReportExit, config.ReportLive} {
			t.Run(name+", "+string(report), bubble(func(t *testing.T) {
				b := newBench(t, func(_ *bench, o *Options) { o.Config.Report = report })
				b.createInPod(t, "c")
				for _, s := range tc.steps {
					s(t, b)
				}
				settles(t, b)
				require.Equal(t, tc.want, b.events.all())
				r := b.container("c")
				r.mu.Lock()
				defer r.mu.Unlock()
				if r.exit != nil {
					require.True(t, r.verdict.OOMKilled)
					require.Equal(t, oom.RuleInitVictim, r.verdict.Rule)
				}
			}))
		}
	}
}

// The look after an OOM notification is under way when init is reaped: one of the two publishes.
func TestEvidenceThatTheEndOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		b.source.set("c", initKilled())
		looks := make(chan struct{})
		b.source.block = looks
		notifies(t, b)
		settle()
		b.task.exit(t, "c", 137)
		settle()
		require.Empty(t, b.events.all())
		close(looks)
		asksWait(t, b)
		settles(t, b)
		require.Equal(t, []string{"/tasks/oom c", "/tasks/exit c"}, b.events.all())
	})
}

// An OOM notification that comes while another is followed up is not lost.
func TestANotificationWhileEvidenceIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		b.source.set("c", killedNow())
		reading := make(chan struct{})
		b.task.onStats = func() { <-reading }
		notifies(t, b)
		settle() // the child's kill was seen, and the metrics are being read
		isNamed(t, b)
		require.Empty(t, b.events.all())
		close(reading)
		settle()
		require.Equal(t, []string{"/tasks/oom c"}, b.events.all())
	})
}

// The hold timeout has passed, and a containerd has the exit, when the verdict
// comes. It gets the TaskOOM, which the one before it had. The explorer found this
// order.
func TestAnEarlyTaskOOMAfterTheHoldTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		isNamed(t, b)
		dies(t, b)
		isBack(t, b)
		connects(t, b)
		reading := make(chan struct{})
		b.source.block = reading
		b.task.exit(t, "c", 137)
		asksWait(t, b)
		settles(t, b)
		require.Equal(t, []string{"/tasks/exit c"}, b.events.all())
		close(reading)
		settles(t, b)
		require.Equal(t, []string{"/tasks/exit c", "/tasks/oom c"}, b.events.all())
	})
}

// A storm of children's kills reads metrics once a second, init's own always.
func TestMetricsInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		var err error
		b.task.stats, err = typeurl.MarshalAny(&cgroup2.Metrics{})
		require.NoError(t, err)
		var read atomic.Int32
		b.task.onStats = func() { read.Add(1) }
		for kills := range uint64(300) {
			ev := killedNow()
			ev.Kills = kills + 1
			b.source.set("c", ev)
			notifies(t, b)
			time.Sleep(10 * time.Millisecond)
		}
		settle()
		require.EqualValues(t, 3, read.Load(), "in 3 s")
		isNamed(t, b)
		require.EqualValues(t, 4, read.Load())
	})
}
