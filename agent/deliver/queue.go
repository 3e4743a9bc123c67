package deliver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"github.com/oomwitness/oomwitness/agent/incident"
	"github.com/oomwitness/oomwitness/agent/outcome"
)

// Limits of a Queue.
const (
	// MaxTasks is how many wait at most, unless said otherwise. A task is about
	// 500 bytes.
	MaxTasks = 4096
	// share is the part of them that one target's may be: a storm in one pod, or in
	// none, must not keep the others' from being told.
	share = 4
	// maxBatch is how many tasks of a lane are done at once.
	maxBatch = 64
	// attemptTime bounds one attempt.
	attemptTime = 15 * time.Second
	// firstPause and lastPause are those between attempts in a lane.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	jitter     = 0.2
)

// Queue is an incident.Tracked that has actions done. At its bound it takes no
// more: the tasks of a new incident are skipped with the reason QueueFull, counted
// and logged, since those that wait are nearer to being done, and the first OOM of
// a storm says most about it.
type Queue struct {
	actions map[string]Action
	order   []Action
	max     int
	log     *quietLog
	done    func(id string)
	ready   workqueue.TypedDelayingInterface[Lane]
	pauses  workqueue.TypedRateLimiter[Lane]

	mu sync.Mutex
	// lanes holds the tasks that wait or are being done, oldest first.
	lanes map[Lane][]Task
	// open counts the tasks of an incident that are not ended.
	open map[string]int
	// waiting is the number of all tasks, targets those of each target.
	waiting int
	targets map[Target]int
}

var _ incident.Tracked = (*Queue)(nil)

// New makes a queue of at most maxTasks tasks. Nothing is done before Run.
func New(log logrus.FieldLogger, maxTasks int, actions ...Action) *Queue {
	q := &Queue{
		actions: map[string]Action{}, order: actions, max: maxTasks, log: newQuietLog(log),
		done:   func(string) {},
		ready:  workqueue.NewTypedDelayingQueue[Lane](),
		pauses: workqueue.NewTypedItemExponentialFailureRateLimiter[Lane](firstPause, lastPause),
		lanes:  map[Lane][]Task{}, open: map[string]int{}, targets: map[Target]int{},
	}
	for _, a := range actions {
		q.actions[a.Name()] = a
	}
	return q
}

// Start says who is told of an incident of which all is done or skipped. It is
// called before Take and Run.
func (q *Queue) Start(done func(id string)) { q.done = done }

// Take queues what is to be done for an incident. One that is still open is not
// queued again. It does not wait.
func (q *Queue) Take(in incident.Incident, _ bool) {
	q.mu.Lock()
	_, known := q.open[in.ID]
	q.mu.Unlock()
	if known {
		return
	}
	var items []Item
	for _, a := range q.order {
		items = append(items, a.Plan(&in)...)
	}
	refused, none := q.add(in.ID, items)
	for _, item := range refused {
		a := q.actions[item.Lane.Action]
		a.Count(outcome.Skipped, outcome.QueueFull)
		q.log.skipped(item.Lane, item.Task, &outcome.SkipError{Reason: outcome.QueueFull})
	}
	if none {
		q.done(in.ID)
	}
}

// add queues items as far as there is room, and returns the others. It says
// whether it has queued none.
func (q *Queue) add(id string, items []Item) ([]Item, bool) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	var refused []Item
	for _, item := range items {
		target := item.Lane.Target
		if q.waiting >= q.max || q.targets[target] >= max(1, q.max/share) {
			refused = append(refused, item)
			continue
		}
		item.Task.Queued = now
		q.lanes[item.Lane] = append(q.lanes[item.Lane], item.Task)
		if len(q.lanes[item.Lane]) == 1 {
			q.ready.Add(item.Lane)
		}
		q.waiting++
		q.targets[target]++
		q.open[id]++
	}
	return refused, len(refused) == len(items)
}

// Waiting is the number of tasks that are not ended.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// Run works with so many workers until ctx ends. What is open then stays open. It
// is called once.
func (q *Queue) Run(ctx context.Context, workers int) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				lane, stopped := q.ready.Get()
				if stopped {
					return
				}
				q.step(ctx, lane)
				q.ready.Done(lane)
			}
		})
	}
	<-ctx.Done()
	q.ready.ShutDown()
	all.Wait()
}

// step makes one attempt in a lane.
func (q *Queue) step(ctx context.Context, lane Lane) {
	if ctx.Err() != nil {
		return
	}
	a, tasks := q.actions[lane.Action], q.oldest(lane)
	if len(tasks) == 0 {
		return
	}
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	err := a.Do(attempt, lane, tasks)
	if ctx.Err() != nil && err != nil {
		return // ended, not failed
	}
	var wait *outcome.WaitError
	var skip *outcome.SkipError
	switch {
	case err == nil:
		for range tasks {
			a.Count(a.Done(), outcome.None)
		}
		q.end(lane, tasks)
	case errors.As(err, &wait):
		q.ready.AddAfter(lane, wait.After)
	case errors.As(err, &skip):
		for _, t := range tasks {
			a.Count(outcome.Skipped, skip.Reason)
			q.log.skipped(lane, t, skip)
		}
		q.end(lane, tasks)
	default:
		q.failed(a, lane, tasks, err)
	}
}

// failed has the lane tried again, without the tasks whose time is over.
func (q *Queue) failed(a Action, lane Lane, tasks []Task, err error) {
	retry := &outcome.RetryError{Reason: outcome.Unavailable, Err: err}
	errors.As(err, &retry)
	a.Count(outcome.Error, retry.Reason)
	q.log.failed(lane, tasks[0], retry)
	late := 0
	for late < len(tasks) && time.Since(tasks[late].Queued) >= a.Patience() {
		a.Count(outcome.Skipped, retry.Reason)
		q.log.skipped(lane, tasks[late], &outcome.SkipError{Reason: retry.Reason, Err: retry.Err})
		late++
	}
	if late == len(tasks) {
		q.end(lane, tasks)
		return
	}
	q.remove(lane, tasks[:late])
	q.ready.AddAfter(lane, max(retry.After, wait.Jitter(q.pauses.When(lane), jitter)))
}

func (q *Queue) oldest(lane Lane) []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.lanes[lane]
	return waiting[:min(len(waiting), maxBatch):min(len(waiting), maxBatch)]
}

// end removes a lane's oldest tasks, and lets it go on with what came meanwhile.
func (q *Queue) end(lane Lane, tasks []Task) {
	q.pauses.Forget(lane)
	if q.remove(lane, tasks) {
		q.ready.Add(lane)
	}
}

// remove removes a lane's oldest tasks, and says whether there are more.
func (q *Queue) remove(lane Lane, tasks []Task) bool {
	q.mu.Lock()
	rest := q.lanes[lane][len(tasks):]
	if len(rest) == 0 {
		delete(q.lanes, lane)
	} else {
		q.lanes[lane] = rest
	}
	q.waiting -= len(tasks)
	if q.targets[lane.Target] -= len(tasks); q.targets[lane.Target] == 0 {
		delete(q.targets, lane.Target)
	}
	var closed []string
	for _, t := range tasks {
		if q.open[t.ID]--; q.open[t.ID] == 0 {
			delete(q.open, t.ID)
			closed = append(closed, t.ID)
		}
	}
	q.mu.Unlock()
	for _, id := range closed {
		q.done(id)
	}
	return len(rest) > 0
}
