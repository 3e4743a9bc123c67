package deliver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// Limits of a Queue.
const (
	// MaxTasks is how many wait at most, unless said otherwise. A task is about
	// 500 bytes.
	MaxTasks = 4096
	// maxBatch is how many tasks of a lane are done at once.
	maxBatch = 64
	// attemptTime bounds one attempt.
	attemptTime = 15 * time.Second
	// firstPause and lastPause are those between attempts in a lane.
	firstPause = 500 * time.Millisecond
	lastPause  = 30 * time.Second
	jitter     = 0.2
)

// Queue is an events.Tracked that has actions done. At its bound it takes no
// more: the tasks of a new OOM event are skipped with the reason QueueFull, counted
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
	// lanes holds the tasks that wait or are being done, oldest first; the first busy
	// ones of a lane are being done.
	lanes map[Lane][]Task
	busy  map[Lane]int
	// open counts the tasks of an OOM event that are not ended.
	open map[string]int
	// waiting counts all tasks, by owner.
	waiting events.Room
}

var _ events.Tracked = (*Queue)(nil)

// NewQueue makes a queue of at most maxTasks tasks. Nothing is done before Run.
func NewQueue(log logrus.FieldLogger, maxTasks int, actions ...Action) *Queue {
	q := &Queue{
		actions: map[string]Action{}, order: actions, max: maxTasks, log: newQuietLog(log),
		done: func(string) {},
		ready: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[Lane]{
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[Lane]{Queue: &fair{groups: map[string][]Lane{}}}),
		}),
		pauses: workqueue.NewTypedItemExponentialFailureRateLimiter[Lane](firstPause, lastPause),
		lanes:  map[Lane][]Task{}, busy: map[Lane]int{}, open: map[string]int{},
	}
	for _, a := range actions {
		q.actions[a.Name()] = a
	}
	return q
}

// Start sets the function that is called for an OOM event of which all is done or skipped. It is
// called before Take and Run.
func (q *Queue) Start(done func(id string)) { q.done = done }

// Take queues an OOM event's tasks. It never waits: where there is no room, the newest
// task of the owner with the most tasks is skipped.
func (q *Queue) Take(in events.OOMEvent) {
	var items []Item
	for _, a := range q.order {
		items = append(items, a.Plan(&in)...)
	}
	q.Add(in.ID, items)
}

// Add queues tasks of one ID, as Take does. Each is of an action of the queue.
func (q *Queue) Add(id string, items []Item) {
	skipped, ended := q.add(id, items)
	for _, item := range skipped {
		a := q.actions[item.Lane.Action]
		a.Count(Skipped, QueueFull)
		q.log.skipped(item.Lane, item.Task, &SkipError{Reason: QueueFull})
	}
	for _, id := range ended {
		q.done(id)
	}
}

// add takes tasks, and returns those for which there was no room, and the OOM events of
// which no task is left.
func (q *Queue) add(id string, items []Item) (skipped []Item, ended []string) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(items) == 0 {
		return nil, []string{id}
	}
	for _, item := range items {
		item.Task.Queued = now
		q.lanes[item.Lane] = append(q.lanes[item.Lane], item.Task)
		if len(q.lanes[item.Lane]) == 1 {
			q.ready.Add(item.Lane)
		}
		q.waiting.Add(ownerOf(item.Lane), 1)
		q.open[id]++
	}
	for q.waiting.All() > q.max {
		item, ok := q.dropLocked()
		if !ok {
			break // all is being done
		}
		skipped = append(skipped, item)
		if q.endedLocked(item.Task.ID) {
			ended = append(ended, item.Task.ID)
		}
	}
	return skipped, ended
}

// endedLocked counts a task less of an OOM event, and reports whether it was the last.
func (q *Queue) endedLocked(id string) bool {
	q.open[id]--
	if q.open[id] > 0 {
		return false
	}
	delete(q.open, id)
	return true
}

// Waiting is the number of tasks that are not ended.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.All()
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
	a, tasks := q.actions[lane.Action], q.begin(lane)
	defer q.pause(lane)
	if len(tasks) == 0 {
		return
	}
	attempt, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	err := a.Do(attempt, lane, tasks)
	if ctx.Err() != nil && err != nil {
		return // ended, not failed
	}
	var wait *WaitError
	var skip *SkipError
	switch {
	case err == nil:
		for range tasks {
			a.Count(a.Done(), None)
		}
		q.end(lane, tasks)
	case errors.As(err, &wait):
		if !q.skipLate(a, lane, tasks, &SkipError{Reason: TooLate}) {
			q.ready.AddAfter(lane, wait.After)
		}
	case errors.As(err, &skip):
		for _, t := range tasks {
			a.Count(Skipped, skip.Reason)
			q.log.skipped(lane, t, skip)
		}
		q.end(lane, tasks)
	default:
		q.failed(a, lane, tasks, err)
	}
}

// failed has the lane tried again, without the tasks whose time is over.
func (q *Queue) failed(a Action, lane Lane, tasks []Task, err error) {
	retry := &RetryError{Reason: Unavailable, Err: err}
	errors.As(err, &retry)
	a.Count(Error, retry.Reason)
	q.log.failed(lane, tasks[0], retry)
	if !q.skipLate(a, lane, tasks, &SkipError{Reason: retry.Reason, Err: retry.Err}) {
		q.ready.AddAfter(lane, max(retry.After, wait.Jitter(q.pauses.When(lane), jitter)))
	}
}

// skipLate skips a lane's oldest tasks whose time is over, and reports whether all are.
func (q *Queue) skipLate(a Action, lane Lane, tasks []Task, skip *SkipError) bool {
	late := 0
	for late < len(tasks) && time.Since(tasks[late].Queued) >= a.Patience() {
		a.Count(Skipped, skip.Reason)
		q.log.skipped(lane, tasks[late], skip)
		late++
	}
	if late == len(tasks) {
		q.end(lane, tasks)
		return true
	}
	q.remove(lane, tasks[:late])
	return false
}

// begin returns a lane's oldest tasks, which are not dropped until pause.
func (q *Queue) begin(lane Lane) []Task {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.lanes[lane]
	n := min(len(waiting), maxBatch)
	if n > 0 {
		q.busy[lane] = n
	}
	return waiting[:n:n]
}

// pause ends what begin has begun.
func (q *Queue) pause(lane Lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, lane)
}

// end removes a lane's oldest tasks, and lets it go on with what came meanwhile.
func (q *Queue) end(lane Lane, tasks []Task) {
	q.pauses.Forget(lane)
	if q.remove(lane, tasks) {
		q.ready.Add(lane)
	}
}

// remove removes a lane's oldest tasks, and reports whether there are more.
func (q *Queue) remove(lane Lane, tasks []Task) bool {
	q.mu.Lock()
	rest := q.lanes[lane][len(tasks):]
	if len(rest) == 0 {
		delete(q.lanes, lane)
	} else {
		q.lanes[lane] = rest
	}
	delete(q.busy, lane)
	var closed []string
	q.waiting.Add(ownerOf(lane), -len(tasks))
	for i := range tasks {
		if q.endedLocked(tasks[i].ID) {
			closed = append(closed, tasks[i].ID)
		}
	}
	q.mu.Unlock()
	for _, id := range closed {
		q.done(id)
	}
	return len(rest) > 0
}
