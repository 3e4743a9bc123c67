package notify

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

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
	"github.com/oomwitness/oomwitness/agent/internal/events"
)

const markName = "mark"

// MaxAge is how long ago a kill may be for its pod to be marked or evicted: after
// that the node's memory is another matter.
const MaxAge = 15 * time.Minute

// Marker is the action that puts an annotation or a label on the pods of victims, where
// it helps to move a pod: a stock descheduler picks the pod by its label.
type Marker struct {
	Common
	annotation, label Pair
	causes            Causes
}

var _ deliver.Action = (*Marker)(nil)

// NewMarker returns the action that marks the pods of victims of some causes. At least one
// of annotation and label is not zero.
func NewMarker(c Common, annotation, label Pair, causes Causes) *Marker {
	return &Marker{c, annotation, label, causes}
}

// Name is "mark".
func (m *Marker) Name() string { return markName }

// Patience is MaxAge.
func (m *Marker) Patience() time.Duration { return MaxAge }

// Done is deliver.Marked.
func (m *Marker) Done() deliver.Stage { return deliver.Marked }

// Count counts a pod.
func (m *Marker) Count(stage deliver.Stage, reason deliver.Reason) {
	m.Counter.Mark(stage, reason)
}

// Plan has a task for each pod with victims.
func (m *Marker) Plan(in *events.OOMEvent) []deliver.Item {
	return planPods(in, markName, m.causes, m.Count)
}

// planPods has a task for each pod with victims, of an action that is for some causes
// only and soon after the kill.
func planPods(in *events.OOMEvent, action string, causes Causes, count func(deliver.Stage, deliver.Reason)) []deliver.Item {
	var items []deliver.Item
	seen := map[string]bool{}
	for _, v := range in.Victims {
		if v.Pod == nil || v.Pod.UID == "" || seen[v.Pod.UID] {
			continue
		}
		seen[v.Pod.UID] = true
		switch {
		case !causes[in.Cause]:
			count(deliver.Skipped, deliver.CauseExcluded)
		case time.Since(in.Time) > MaxAge:
			count(deliver.Skipped, deliver.TooLate)
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
	if pod, ok := m.Pods.ByUID(target.UID); ok {
		target = deliver.Target{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
	}
	if target.Namespace == "" || target.Name == "" {
		return deliver.Unknown(lane, tasks)
	}
	if m.DryRun {
		m.Log.WithFields(logrus.Fields{
			"pod": target.Namespace + "/" + target.Name, "oom_event": tasks[0].ID, "cause": tasks[0].Cause,
			"annotation": m.annotation.Key, "label": m.label.Key,
		}).Info("dry run: would mark the pod")
		return &deliver.SkipError{Reason: deliver.DryRun}
	}
	body, err := m.patch(target.UID)
	if err != nil {
		return &deliver.SkipError{Reason: deliver.Refused, Err: err}
	}
	err = m.Client.Patch(types.MergePatchType).Namespace(target.Namespace).Resource("pods").Name(target.Name).
		Body(body).MaxRetries(0).Do(ctx).Error()
	if otherUID(err) {
		return &deliver.SkipError{Reason: deliver.PodRecreated, Err: err}
	}
	return deliver.Judge(err)
}

// patch sets the annotation and the label and nothing else, so that it conflicts
// with no other change. The UID can't be changed: on a pod of another one the
// API server refuses it.
func (m *Marker) patch(uid string) ([]byte, error) {
	metadata := map[string]any{"uid": uid}
	if m.annotation != (Pair{}) {
		metadata["annotations"] = map[string]string{m.annotation.Key: m.annotation.Value}
	}
	if m.label != (Pair{}) {
		metadata["labels"] = map[string]string{m.label.Key: m.label.Value}
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
