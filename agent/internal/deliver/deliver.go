// Package deliver brings OOM events to Kubernetes: a bounded queue between the
// ledger's reader, which never waits, and an API server that may be slow, refuse
// or be away.
//
// What is to be done for one OOM event are tasks, each in a lane: one action for
// one pod, or for one unit or user of the node. A lane is in order and is worked on by
// one worker at a time, with all its waiting tasks at once, so that a storm costs calls by
// pod and not by kill. Lanes do not hold each other up. A task that fails is tried again with growing
// pauses until its action's patience ends; then it is skipped, counted and
// logged with the last reason.
package deliver

import (
	"context"
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// Target is the pod that an action is for; the zero value is the node itself.
type Target struct{ Namespace, Name, UID string }

// Node says that the target is no pod.
func (t Target) Node() bool { return t == Target{} }

// Lane is one action for one target.
type Lane struct {
	Action string
	Target Target
	// Owner is whose kills they are where the target is the node: a unit or a user's slice.
	Owner string
	// Container is the one concerned, "" where that makes no difference.
	Container string
	// Group keeps tasks apart that the action can't do together, "" for none.
	Group string
}

// Task is one OOM event's part in a lane.
type Task struct {
	// ID is the OOM event's.
	ID string
	// BootNS and Time are those of its first kill.
	BootNS uint64
	Time   time.Time
	// Cause is whose limit fired, an oom.Cause.
	Cause string
	// Text is for people.
	Text string
	// Queued is when Take got it.
	Queued time.Time
}

// strange is how long a pod may be unknown: the watch may have it any moment, and
// after a start it has to read the pods first.
const strange = time.Minute

// Unknown is what to say of tasks for a pod that nobody knows.
func Unknown(lane Lane, tasks []Task) error {
	err := fmt.Errorf("no pod of UID %s is known", lane.Target.UID)
	if time.Since(tasks[0].Queued) < strange {
		return &RetryError{Reason: PodUnknown, Err: err}
	}
	return &SkipError{Reason: PodUnknown, Err: err}
}

// Item is a task with its lane.
type Item struct {
	Lane Lane
	Task Task
}

// Action does one kind of thing. Its methods are called concurrently, but Do never
// for the same lane.
type Action interface {
	// Name is that of its lanes.
	Name() string
	// Plan says what is to be done for an OOM event: at most one task per lane.
	// What is not to be done is counted by Plan. It does not wait.
	Plan(in *events.OOMEvent) []Item
	// Do does a lane's oldest tasks, at least one, all or none. It returns an error
	// of package outcome; any other counts as a RetryError.
	Do(ctx context.Context, lane Lane, tasks []Task) error
	// Count counts what became of one task. A task that Do has done is counted by
	// the stage Done.
	Count(stage Stage, reason Reason)
	Done() Stage
	// Patience is how long a task is tried, from when it was queued.
	Patience() time.Duration
}
