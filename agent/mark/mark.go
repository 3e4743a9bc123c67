// Package mark puts an annotation or a label on the pods of victims, where it
// helps to move a pod: a stock descheduler picks it by its label.
package mark

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/oomwitness/oomwitness/agent/deliver"
	"github.com/oomwitness/oomwitness/agent/events"
	"github.com/oomwitness/oomwitness/agent/kubeapi"
	"github.com/oomwitness/oomwitness/agent/outcome"
	"github.com/oomwitness/oomwitness/agent/pods"
)

const name = "mark"

// MaxAge is how long ago a kill may be for its pod to be marked or evicted: after
// that the node's memory is another matter.
const MaxAge = 15 * time.Minute

// Options of New.
type Options struct {
	Client rest.Interface // of the core group
	Pods   pods.Finder
	// Annotation and Label are put on the pods; at least one is not zero.
	Annotation, Label Pair
	Causes            Causes
	Count             outcome.Counter
	Log               logrus.FieldLogger
	DryRun            bool
}

// Marker is the action that marks.
type Marker struct{ Options }

var _ deliver.Action = (*Marker)(nil)

// New returns the action that marks pods.
func New(o Options) *Marker { return &Marker{o} }

// Name is "mark".
func (m *Marker) Name() string { return name }

// Patience is MaxAge.
func (m *Marker) Patience() time.Duration { return MaxAge }

// Done is outcome.Marked.
func (m *Marker) Done() outcome.Stage { return outcome.Marked }

// Count counts a pod.
func (m *Marker) Count(stage outcome.Stage, reason outcome.Reason) {
	m.Options.Count.Mark(stage, reason)
}

// Plan has a task for each pod with victims.
func (m *Marker) Plan(in *events.OOMEvent) []deliver.Item {
	return Plan(in, name, m.Causes, m.Count)
}

// Plan has a task for each pod with victims, of an action that is for some causes
// only and soon after the kill.
func Plan(in *events.OOMEvent, action string, causes Causes, count func(outcome.Stage, outcome.Reason)) []deliver.Item {
	var items []deliver.Item
	seen := map[string]bool{}
	for _, v := range in.Victims {
		if v.Pod == nil || v.Pod.UID == "" || seen[v.Pod.UID] {
			continue
		}
		seen[v.Pod.UID] = true
		switch {
		case !causes[in.Cause]:
			count(outcome.Skipped, outcome.CauseExcluded)
		case time.Since(in.Time) > MaxAge:
			count(outcome.Skipped, outcome.TooLate)
		default:
			items = append(items, deliver.Item{
				Lane: deliver.Lane{Action: action, Target: deliver.Target{Namespace: v.Pod.Namespace, Name: v.Pod.Name, UID: v.Pod.UID}},
				Task: deliver.Task{ID: in.ID, BootNS: in.BootNS, Time: in.Time, Cause: string(in.Cause)},
			})
		}
	}
	return items
}

// Do marks the lane's pod, once for all tasks.
func (m *Marker) Do(ctx context.Context, lane deliver.Lane, tasks []deliver.Task) error {
	target := lane.Target
	if pod, ok := m.Pods.Lookup(target.UID); ok {
		target = deliver.Target{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	}
	if target.Namespace == "" || target.Name == "" {
		return deliver.Unknown(lane, tasks)
	}
	if m.DryRun {
		m.Log.WithFields(logrus.Fields{
			"pod": target.Namespace + "/" + target.Name, "oom_event": tasks[0].ID, "cause": tasks[0].Cause,
			"annotation": m.Annotation.Key, "label": m.Label.Key,
		}).Info("dry run: would mark the pod")
		return &outcome.SkipError{Reason: outcome.DryRun}
	}
	body, err := m.patch(target.UID)
	if err != nil {
		return &outcome.SkipError{Reason: outcome.Refused, Err: err}
	}
	err = m.Client.Patch(types.MergePatchType).Namespace(target.Namespace).Resource("pods").Name(target.Name).
		Body(body).MaxRetries(0).Do(ctx).Error()
	if otherUID(err) {
		return &outcome.SkipError{Reason: outcome.PodRecreated, Err: err}
	}
	return kubeapi.Judge(err)
}

// patch sets the annotation and the label and nothing else, so that it conflicts
// with no other change. The UID can't be changed: on a pod of another one the
// API server refuses it.
func (m *Marker) patch(uid string) ([]byte, error) {
	metadata := map[string]any{"uid": uid}
	if m.Annotation != (Pair{}) {
		metadata["annotations"] = map[string]string{m.Annotation.Key: m.Annotation.Value}
	}
	if m.Label != (Pair{}) {
		metadata["labels"] = map[string]string{m.Label.Key: m.Label.Value}
	}
	return json.Marshal(map[string]any{"metadata": metadata})
}

// otherUID reports whether the API server has a pod of another UID by that name: it
// calls the patch invalid, or a conflict of preconditions.
func otherUID(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	if apierrors.IsInvalid(err) && details != nil {
		for _, c := range details.Causes {
			if c.Field == "metadata.uid" && c.Type == metav1.CauseTypeFieldValueInvalid {
				return true
			}
		}
	}
	return apierrors.IsConflict(err) && strings.Contains(status.Status().Message, "UID in precondition")
}
