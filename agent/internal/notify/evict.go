package notify

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

const (
	evictName     = "evict"
	evictPatience = 10 * time.Minute
	// budgetPause is how long a budget is left alone, which says no time itself.
	budgetPause = 10 * time.Second
)

// DefaultEvictEvery is the time between two evictions of a node: enough for the first
// to have made room.
const DefaultEvictEvery = 10 * time.Second

// Evicter is the action that evicts the pods of victims by the Eviction API, where moving
// a pod helps: only for the causes that are marked too.
//
// Never evicted are, whatever the cause:
//
//   - static pods: the API server does not own them, and kubelet makes the mirror
//     again;
//   - pods of a DaemonSet, whose controller puts them on the same node again;
//   - pods without a controller, which nobody would make again;
//   - pods of the priority classes system-node-critical and system-cluster-critical.
//
// Disruption budgets are the API server's to keep: an eviction that one does not
// allow is tried again for ten minutes. The UID goes with every eviction, so that a
// new pod of the same name stays.
type Evicter struct {
	Common
	causes Causes
	turn   *turn
}

var _ deliver.Action = (*Evicter)(nil)

// NewEvicter returns the action that evicts the pods of victims of some causes, with the
// time every between two evictions at least.
func NewEvicter(c Common, causes Causes, every time.Duration) *Evicter {
	return &Evicter{Common: c, causes: causes, turn: newTurn(every)}
}

// Name is "evict".
func (e *Evicter) Name() string { return evictName }

// Patience is ten minutes.
func (e *Evicter) Patience() time.Duration { return evictPatience }

// Done is deliver.Evicted.
func (e *Evicter) Done() deliver.Stage { return deliver.Evicted }

// Count counts a pod.
func (e *Evicter) Count(stage deliver.Stage, reason deliver.Reason) {
	e.Counter.Mark(stage, reason)
}

// Plan has a task for each pod with victims.
func (e *Evicter) Plan(in *events.OOMEvent) []deliver.Item {
	return planPods(in, evictName, e.causes, e.Count)
}

// Do evicts the lane's pod.
func (e *Evicter) Do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	pod, ok := e.Pods.ByUID(lane.Target.UID)
	if !ok {
		return deliver.Unknown(lane, tasks)
	}
	if reason := spared(pod); reason != deliver.None {
		return &deliver.SkipError{Reason: reason}
	}
	if e.DryRun {
		e.Log.WithFields(logrus.Fields{
			"pod": pod.Namespace + "/" + pod.Name, "oom_event": tasks[0].ID, "cause": tasks[0].Cause,
		}).Info("dry run: would evict the pod")
		return &deliver.SkipError{Reason: deliver.DryRun}
	}
	if wait := e.turn.take(pod.Namespace); wait > 0 {
		return &deliver.WaitError{After: wait}
	}
	err := e.Client.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(pod.UID)},
		}).MaxRetries(0).Do(ctx).Error()
	var status apierrors.APIStatus
	e.turn.end(errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError)
	return judgeEviction(err)
}

// spared says why a pod is not evicted.
func spared(pod resolve.Pod) deliver.Reason {
	switch {
	case pod.Finished:
		return deliver.PodFinished
	case pod.Static:
		return deliver.StaticPod
	case pod.DaemonSet:
		return deliver.DaemonSetPod
	case pod.Critical:
		return deliver.CriticalPod
	case !pod.Managed:
		return deliver.UnmanagedPod
	default:
		return deliver.None
	}
}

// judgeEviction is deliver.Judge of an eviction.
func judgeEviction(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err) && strings.Contains(err.Error(), "UID in the precondition"):
		return &deliver.SkipError{Reason: deliver.PodRecreated, Err: err}
	case apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		return &deliver.RetryError{Reason: deliver.Budget, After: budgetPause, Err: err}
	default:
		return deliver.Judge(err)
	}
}
