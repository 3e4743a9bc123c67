//go:build linux

package fire

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const (
	// within is the length of the time around a container's end from which the moments are
	// drawn.
	within = 150 * time.Millisecond
	// away is the longest time of a failure that ends by itself.
	away = 300 * time.Millisecond
	// late is the time until one answer comes.
	late = 20 * time.Second
	// atOnce is the number of containers that meet a failure of their endpoint at the same
	// time.
	atOnce = 8
	// lateAtOnce is the same for containers that only wait.
	lateAtOnce = 25
)

// failing are the ways for an events endpoint to fail. Each function begins the failure, and
// returns a function that ends it: after a while, or when the container was deleted.
var failing = []struct {
	name   string
	begin  func(*shimtest.Events) (end func())
	awhile bool
	atOnce int
}{
	{"never answers", func(e *shimtest.Events) func() { return e.Hold(shimtest.Any) }, false, atOnce},
	{"answers errors", func(e *shimtest.Events) func() { return e.Fail(shimtest.Any, errdefs.ErrUnavailable, -1) }, true, atOnce},
	{"closes mid-call", func(e *shimtest.Events) func() { return e.Drop(shimtest.Any, -1) }, true, atOnce},
	{"answers late", func(e *shimtest.Events) func() {
		var taken atomic.Bool
		return e.Delay(func(*shimtest.Event) bool { return taken.CompareAndSwap(false, true) }, late)
	}, false, lateAtOnce},
}

// ending is a way for a container to end.
type ending struct {
	name   string
	args   []string
	status uint32
	events []string
}

var endings = []ending{
	{"oom", []string{"hog"}, statusKilled, full},
	{"exit 3", []string{"exit", "3"}, 3, quiet},
	{"exit 0", []string{"exit", "0"}, 0, quiet},
	{"stop", []string{"trap-term", "143"}, 143, quiet},
}

// TestEndpointFailsAtRandom has the endpoint begin to fail at a random moment. The exit must
// show within the hold timeout and be right, and each event must be accepted once and in its
// order. FAULT_RUNS is the number of runs, FAULT_SEED repeats the moments.
func TestEndpointFailsAtRandom(t *testing.T) {
	seed, runs := faultSeed(t), counts.FromEnv(t, "FAULT_RUNS", 1)
	rng := rand.New(rand.NewPCG(seed, 0))
	draw := func(upTo time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(upTo))) }
	for _, how := range failing {
		t.Run(how.name, func(t *testing.T) {
			places := make(chan struct{}, how.atOnce)
			var wg sync.WaitGroup
			for _, as := range endings {
				for i := range runs {
					moment, lasts := draw(within), draw(away)
					if !how.awhile {
						lasts = 0
					}
					places <- struct{}{}
					wg.Go(func() {
						defer func() { <-places }()
						t.Run(as.name+"/"+strconv.Itoa(i), func(t *testing.T) { failsAround(t, as, how.begin, moment, lasts) })
					})
				}
			}
			wg.Wait()
		})
	}
}

func failsAround(t *testing.T, as ending, begin func(*shimtest.Events) func(), moment, lasts time.Duration) {
	const bound, slack = 2 * time.Second, 8 * time.Second
	t.Logf("after %v, for %v", moment, lasts)
	ctx := deadline(t)
	n := node(t, "hold_timeout = '2s'\n")
	c := n.Run("c", shimtest.Args(as.args...), small)
	if as.name == "stop" {
		require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
		time.AfterFunc(within/2, func() { _ = c.Kill(ctx, uint32(unix.SIGTERM)) })
	}
	begun := make(chan func(), 1)
	time.AfterFunc(moment, func() {
		end := begin(n.Events)
		if lasts > 0 {
			time.AfterFunc(lasts, end)
		}
		begun <- end
	})
	exit, err := c.Wait(ctx)
	require.NoError(t, err)
	require.Less(t, time.Since(exit.ExitedAt.AsTime()), bound+slack)
	require.Equal(t, as.status, exit.ExitStatus)
	asked := time.Now()
	gone, err := c.Delete(ctx)
	require.NoError(t, err)
	require.Less(t, time.Since(asked), bound+slack)
	require.Equal(t, as.status, gone.ExitStatus)
	(<-begun)()
	event(t, n, deleteTopic, c.ID)
	shutdown(t, c)
	wantEvents(t, n, c, as.events...)
}
