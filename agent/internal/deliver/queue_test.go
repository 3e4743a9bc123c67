package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// action has one task for each victim's pod, and does what do says.
type action struct {
	do func(ctx context.Context, lane Lane, tasks []Task) error

	mu       sync.Mutex
	attempts int
	did      map[string][]string // OOM events by pod, in order
	counts   map[string]int
}

func newAction(do func(context.Context, Lane, []Task) error) *action {
	return &action{do: do, did: map[string][]string{}, counts: map[string]int{}}
}

func (a *action) Name() string            { return "test" }
func (a *action) Done() Stage             { return Reported }
func (a *action) Patience() time.Duration { return 10 * time.Minute }

func (a *action) Count(stage Stage, reason Reason) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[fmt.Sprintf("%s/%s", stage, reason)]++
}

func (a *action) Plan(in *events.OOMEvent) []Item {
	var items []Item
	for _, v := range in.Victims {
		if owner, ok := strings.CutPrefix(v.Comm, "node:"); ok {
			items = append(items, Item{Lane{Action: a.Name(), Owner: owner}, Task{ID: in.ID}})
			continue
		}
		namespace, _, _ := strings.Cut(v.Comm, "/")
		items = append(items, Item{Lane{Action: a.Name(), Target: Target{Namespace: namespace, UID: v.Comm}}, Task{ID: in.ID}})
	}
	return items
}

func (a *action) Do(ctx context.Context, lane Lane, tasks []Task) error {
	a.mu.Lock()
	a.attempts++
	a.mu.Unlock()
	if err := a.do(ctx, lane, tasks); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range tasks {
		a.did[lane.Target.UID+lane.Owner] = append(a.did[lane.Target.UID+lane.Owner], t.ID)
	}
	return nil
}

func (a *action) get() (attempts int, did map[string][]string, counts map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts, a.did, a.counts
}

// inc is an OOM event with victims in these pods.
func inc(id string, pods ...string) events.OOMEvent {
	in := events.OOMEvent{ID: id}
	for _, pod := range pods {
		var v events.Victim
		v.Comm = pod
		in.Victims = append(in.Victims, v)
	}
	return in
}

// queue runs one in a bubble, and returns the OOM events that are done.
func queue(t *testing.T, maxTasks int, a Action) (*Queue, func() []string) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	q := NewQueue(log, maxTasks, a)
	var (
		mu   sync.Mutex
		done []string
	)
	q.Start(func(id string) {
		mu.Lock()
		defer mu.Unlock()
		done = append(done, id)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.Run(ctx, 4)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return q, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(done)
	}
}

var errAway = errors.New("connection refused")

// Five minutes without an API server: all is done afterwards, in order, soon, and
// it was not asked for often.
func TestAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(5 * time.Minute)
		a := newAction(func(context.Context, Lane, []Task) error {
			if time.Now().Before(back) {
				return errAway
			}
			return nil
		})
		q, done := queue(t, MaxTasks, a)
		var want []string
		for i := range 30 {
			id := fmt.Sprintf("e%02d", i)
			q.Take(inc(id, "a", "b"))
			want = append(want, id)
		}
		time.Sleep(5*time.Minute + lastPause + lastPause/2)
		synctest.Wait()
		attempts, did, counts := a.get()
		for _, pod := range []string{"a", "b"} {
			if !slices.Equal(did[pod], want) {
				t.Errorf("pod %s: did %v", pod, did[pod])
			}
		}
		if ids := done(); len(ids) != 30 || q.Waiting() != 0 {
			t.Errorf("%d OOM events done, %d tasks wait", len(ids), q.Waiting())
		}
		if attempts > 2*20 || counts["reported/"] != 60 || counts["error/unavailable"] == 0 {
			t.Errorf("%d attempts, %v", attempts, counts)
		}
	})
}

// What fails for ever is skipped when its time is over, with the reason of the last
// failure, and its OOM event is done.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAction(func(context.Context, Lane, []Task) error {
			return &RetryError{Reason: Budget, Err: errAway}
		})
		q, done := queue(t, MaxTasks, a)
		q.Take(inc("early", "a"))
		time.Sleep(5 * time.Minute)
		q.Take(inc("late", "a"))
		time.Sleep(6 * time.Minute)
		if got := done(); !slices.Equal(got, []string{"early"}) {
			t.Errorf("after 11 minutes done: %v", got)
		}
		time.Sleep(5 * time.Minute)
		_, _, counts := a.get()
		if got := done(); !slices.Equal(got, []string{"early", "late"}) || counts["skipped/budget"] != 2 || q.Waiting() != 0 {
			t.Errorf("after 16 minutes done: %v, %v", got, counts)
		}
	})
}

// stalled is a queue with room for n tasks of which none is done before release.
func stalled(t *testing.T, n int) (q *Queue, a *action, done func() []string, release func()) {
	t.Helper()
	released := make(chan struct{})
	a = newAction(func(context.Context, Lane, []Task) error {
		<-released
		return nil
	})
	q, done = queue(t, n, a)
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release) // before the queue ends
	return q, a, done, release
}

// At the limit as many are skipped as come; Take never waits. One pod may have all the
// room while nobody else needs it.
func TestBound(t *testing.T) {
	for name, pods := range map[string][]string{
		"one pod": {"a"}, "many": {"a", "b", "c", "d", "e", "f", "g"}, "one in all": {"a", "a", "a", "b"}, "the node": {"node:x", "node:y"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const taken, room = 60, 20
				q, a, done, release := stalled(t, room)
				for i := range taken {
					q.Take(inc(fmt.Sprintf("e%02d", i), pods[i%len(pods)]))
					time.Sleep(time.Millisecond)
				}
				require.Equal(t, room, q.Waiting())
				require.Len(t, done(), taken-room, "skipped")
				release()
				synctest.Wait()
				_, did, counts := a.get()
				ended := 0
				for _, ids := range did {
					ended += len(ids)
					require.True(t, slices.IsSorted(ids), "in order: %v", ids)
				}
				require.Equal(t, room, ended)
				require.Equal(t, taken-room, counts["skipped/queue_full"])
				require.Len(t, done(), taken)
				require.Zero(t, q.Waiting())
				_, some := q.waiting.Heaviest(nil)
				require.False(t, some)
				require.Empty(t, q.lanes)
				require.Empty(t, q.open)
				q.Take(inc("late", "a"))
				synctest.Wait()
				require.Len(t, done(), taken+1, "there is room again")
			})
		})
	}
}

// A flood costs its owner alone: a pod, a namespace with as many pods as it likes, a
// unit or a user of the node. What others have waiting stays, and what comes from them
// while the queue is full finds room.
func TestFlood(t *testing.T) {
	many := func(n int, name string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(name, i))
		}
		return list
	}
	for name, flooders := range map[string][]string{
		"one pod":                   {"evil/p"},
		"four pods of one tenant":   many(4, "evil/p%d"),
		"eight pods of one tenant":  many(8, "evil/p%d"),
		"500 pods of one tenant":    many(500, "evil/p%d"),
		"a neighbour in the tenant": {"shop/loud"},
		"a user of the node":        {"node:/user.slice/user-1000.slice"},
		"1000 of them":              many(1000, "node:/user.slice/user-%d.slice"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const room, each = 400, 32
				victims := []string{"shop/web", "bank/db", "node:/system.slice/ssh.service"}
				if strings.HasPrefix(name, "1000") {
					victims = victims[:2] // all of the node's share one room with them
				}
				q, a, done, release := stalled(t, room)
				flood := func(n int) {
					for i := range n {
						q.Take(inc(fmt.Sprintf("f%d-%d", time.Now().UnixNano(), i), flooders[i%len(flooders)]))
					}
					time.Sleep(time.Millisecond)
				}
				flood(2 * room)
				for i := range each {
					for _, victim := range victims {
						q.Take(inc(fmt.Sprintf("%s-%02d", victim, i), victim))
					}
					flood(50)
				}
				require.Equal(t, room, q.Waiting())
				release()
				synctest.Wait()
				_, did, _ := a.get()
				for _, victim := range victims {
					reported := 0
					for _, ids := range did {
						for _, id := range ids {
							if strings.HasPrefix(id, victim+"-") {
								reported++
							}
						}
					}
					require.Equal(t, each, reported, victim)
				}
				require.Zero(t, q.Waiting())
				require.Len(t, done(), 2*room+each*(50+len(victims)), "each OOM event ends once")
			})
		})
	}
}
