package deliver

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// One pod's trouble holds up no other, and what waits in a lane is done at once.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		batches := map[string][]int{}
		var mu sync.Mutex
		a := newAction(func(_ context.Context, lane Lane, tasks []Task) error {
			if lane.Target.UID == "stuck" {
				<-release
			}
			mu.Lock()
			defer mu.Unlock()
			batches[lane.Target.UID] = append(batches[lane.Target.UID], len(tasks))
			return nil
		})
		q, done := queue(t, MaxTasks, a)
		q.Take(inc("first", "stuck"))
		synctest.Wait()
		for i := range 100 {
			q.Take(inc(fmt.Sprintf("both%d", i), "stuck", "free"))
		}
		synctest.Wait()
		if _, did, _ := a.get(); len(did["free"]) != 100 || len(did["stuck"]) != 0 || len(done()) != 0 {
			t.Errorf("did %d and %d, done %v", len(did["free"]), len(did["stuck"]), done())
		}
		close(release)
		synctest.Wait()
		if !slices.Equal(batches["stuck"], []int{1, maxBatch, 100 - maxBatch}) || len(done()) != 101 {
			t.Errorf("batches %v, %d done", batches["stuck"], len(done()))
		}
	})
}

// An OOM event is done at once if there is nothing to do.
func TestNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, done := queue(t, MaxTasks, newAction(func(context.Context, Lane, []Task) error { return nil }))
		q.Take(inc("nothing"))
		if got := done(); !slices.Equal(got, []string{"nothing"}) || q.Waiting() != 0 {
			t.Errorf("done %v, %d wait", got, q.Waiting())
		}
	})
}

// A limit of ours and a skip are no failures; the API server's own time is kept.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var times []time.Duration
		answers := []error{
			&WaitError{After: time.Minute},
			&RetryError{Reason: Throttled, After: 90 * time.Second, Err: errAway},
			&SkipError{Reason: PodGone},
		}
		a := newAction(func(context.Context, Lane, []Task) error {
			times = append(times, time.Since(began).Round(time.Second))
			err := answers[0]
			answers = answers[1:]
			return err
		})
		q, done := queue(t, MaxTasks, a)
		q.Take(inc("e", "a"))
		time.Sleep(4 * time.Minute)
		_, _, counts := a.get()
		if !slices.Equal(times, []time.Duration{0, time.Minute, 150 * time.Second}) {
			t.Errorf("tried after %v", times)
		}
		if len(counts) != 2 || counts["error/throttled"] != 1 || counts["skipped/pod_gone"] != 1 || len(done()) != 1 {
			t.Errorf("%v, done %v", counts, done())
		}
	})
}

// What waits for a limit of ours is skipped too when its time is over.
func TestLateByOurLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAction(func(context.Context, Lane, []Task) error { return &WaitError{After: 10 * time.Second} })
		q, done := queue(t, MaxTasks, a)
		q.Take(inc("early", "a"))
		time.Sleep(5 * time.Minute)
		q.Take(inc("late", "a"))
		time.Sleep(6 * time.Minute)
		if got := done(); !slices.Equal(got, []string{"early"}) || q.Waiting() != 1 {
			t.Errorf("after 11 minutes done: %v, %d wait", got, q.Waiting())
		}
		time.Sleep(5 * time.Minute)
		if _, _, counts := a.get(); q.Waiting() != 0 || counts["skipped/too_late"] != 2 {
			t.Errorf("after 16 minutes: %v, %d wait", counts, q.Waiting())
		}
	})
}

// An agent that ends leaves open what was not done.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAction(func(ctx context.Context, _ Lane, _ []Task) error {
			<-ctx.Done()
			return ctx.Err()
		})
		log := logrus.New()
		log.SetOutput(io.Discard)
		q := NewQueue(log, MaxTasks, a)
		q.Start(func(id string) { t.Errorf("%s is done", id) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			q.Run(ctx, 1)
		}()
		q.Take(inc("e", "a"))
		synctest.Wait()
		cancel()
		<-ended
		if _, _, counts := a.get(); len(counts) != 0 || q.Waiting() != 1 {
			t.Errorf("counted %v, %d wait", counts, q.Waiting())
		}
	})
}
