// Package evict evicts the pods of victims by the Eviction API, where moving a pod
// helps: only for the causes that are marked too.
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
package evict

import (
	"context"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/deliver"
	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/kubeapi"
	"github.com/oomwitness/oomwitness/agent/mark"
	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/agent/pods"
)

const (
	name     = "evict"
	patience = 10 * time.Minute
	// budgetPause is how long a budget is left alone, which says no time itself.
	budgetPause = 10 * time.Second
)

// DefaultEvery is the time between two evictions of a node: enough for the first
// to have made room.
const DefaultEvery = 10 * time.Second

// Options of New.
type Options struct {
	Client rest.Interface // of the core group
	Pods   pods.Finder
	Causes mark.Causes
	// Every is the time between two evictions at least.
	Every  time.Duration
	Count  outcome.Counter
	Log    logrus.FieldLogger
	DryRun bool
}

// Evicter is the action that evicts.
type Evicter struct {
	Options
	limit *rate.Limiter
}

var _ deliver.Action = (*Evicter)(nil)

// New returns the action that evicts pods.
func New(o Options) *Evicter {
	return &Evicter{Options: o, limit: rate.NewLimiter(rate.Every(o.Every), 1)}
}

// Name is "evict".
func (e *Evicter) Name() string { return name }

// Patience is ten minutes.
func (e *Evicter) Patience() time.Duration { return patience }

// Done is outcome.Evicted.
func (e *Evicter) Done() outcome.Stage { return outcome.Evicted }

// Count counts a pod.
func (e *Evicter) Count(stage outcome.Stage, reason outcome.Reason) {
	e.Options.Count.Mark(stage, reason)
}

// Plan has a task for each pod with victims.
func (e *Evicter) Plan(in *events.OOMEvent) []deliver.Item {
	return mark.Plan(in, name, e.Causes, e.Count)
}

// Do evicts the lane's pod.
func (e *Evicter) Do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	pod, ok := e.Pods.Lookup(lane.Target.UID)
	if !ok {
		return deliver.Unknown(lane, tasks)
	}
	if reason := spared(pod); reason != outcome.None {
		return &outcome.SkipError{Reason: reason}
	}
	if e.DryRun {
		e.Log.WithFields(logrus.Fields{
			"pod": pod.Namespace + "/" + pod.Name, "oom_event": tasks[0].ID, "cause": tasks[0].Cause,
		}).Info("dry run: would evict the pod")
		return &outcome.SkipError{Reason: outcome.DryRun}
	}
	reservation := e.limit.Reserve()
	if wait := reservation.Delay(); wait > 0 {
		reservation.Cancel()
		return &outcome.WaitError{After: wait}
	}
	err := e.Client.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(pod.UID)},
		}).MaxRetries(0).Do(ctx).Error()
	return judge(err)
}

// spared says why a pod is not evicted.
func spared(pod pods.Pod) outcome.Reason {
	switch {
	case pod.Finished:
		return outcome.PodFinished
	case pod.Static:
		return outcome.StaticPod
	case pod.DaemonSet:
		return outcome.DaemonSetPod
	case pod.Critical:
		return outcome.CriticalPod
	case !pod.Managed:
		return outcome.UnmanagedPod
	default:
		return outcome.None
	}
}

func judge(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsConflict(err) && strings.Contains(err.Error(), "UID in the precondition"):
		return &outcome.SkipError{Reason: outcome.PodRecreated, Err: err}
	case apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		return &outcome.RetryError{Reason: outcome.Budget, After: budgetPause, Err: err}
	default:
		return kubeapi.Judge(err)
	}
}
