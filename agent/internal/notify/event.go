package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/oomwitness/oomwitness/agent/internal/deliver"
)

// Reasons and Component of the Events. ReasonKilled is of containers that a SIGKILL has
// ended which neither the OOM killer nor a runtime has sent.
const (
	Reason       = "OOMKilling"
	ReasonKilled = "Killed"
	Component    = "oomwitness"
)

// maxName is how long an Event's name may be.
const maxName = 253

// object is what the Event of a lane is about.
func (r *Reporter) object(lane deliver.Lane, tasks []deliver.Task) (corev1.ObjectReference, error) {
	if lane.Target.Node() {
		// As kubelet's own Events on its node: kubectl looks for both UIDs.
		return corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.Node, UID: types.UID(r.Node)}, nil
	}
	object := corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: lane.Target.Namespace, Name: lane.Target.Name, UID: types.UID(lane.Target.UID),
	}
	if pod, ok := r.Pods.ByUID(lane.Target.UID); ok {
		object.Namespace, object.Name, object.UID = pod.Namespace, pod.Name, types.UID(pod.UID)
		for _, c := range pod.Containers {
			if c.Name == lane.Container {
				object.FieldPath = fmt.Sprintf("%s{%s}", fieldOf[c.Kind], c.Name)
			}
		}
	} else if lane.Container != "" {
		object.FieldPath = fmt.Sprintf("spec.containers{%s}", lane.Container)
	}
	if object.Namespace == "" || object.Name == "" {
		return object, deliver.Unknown(lane, tasks)
	}
	return object, nil
}

// fieldOf says where in a pod a container is, by its kind.
var fieldOf = map[string]string{
	"init": "spec.initContainers", "sidecar": "spec.initContainers",
	"container": "spec.containers", "ephemeral": "spec.ephemeralContainers",
}

// seen is an Event as the API server had it last. Without a version the Event is
// there and was not read since somebody else changed it.
type seen struct {
	name     string
	version  string
	count    int32
	reported reported
}

// seenOf leaves out the times ahead: no agent has reported them.
func (r *Reporter) seenOf(e *corev1.Event) seen {
	times := parseReported(e.Annotations[annotationReported])
	ahead, _ := slices.BinarySearch(times, r.now()+1)
	return seen{name: e.Name, version: e.ResourceVersion, count: e.Count, reported: times[:ahead]}
}

// report changes the lane's Event if it is there, and creates it if not. Each answer
// of the API server is kept for the next attempt: an attempt that fails at its last
// request repeats this request alone.
func (r *Reporter) report(ctx context.Context, lane deliver.Lane, object corev1.ObjectReference, tasks []deliver.Task) error {
	event := r.event(object, tasks)
	cached, ok := r.events.Get(lane)
	if !ok {
		event.Name = eventName(lane, object)
		err := r.create(ctx, lane, event)
		if !apierrors.IsAlreadyExists(err) {
			return deliver.Judge(err)
		}
		// By an agent before this one, or by a call whose answer was lost.
		cached = seen{name: event.Name}
		r.events.Add(lane, cached)
	}
	known := cached.(seen)
	if known.version == "" {
		there, err := r.patch(ctx, event.Namespace, known.name, []byte("{}"))
		switch {
		case apierrors.IsForbidden(err), err == nil && !sameEvent(there, event):
			// By somebody else: the name can be known before the kill.
			event.Name, event.GenerateName = "", strings.TrimRight(object.Name, "-.")+"."
			return deliver.Judge(r.create(ctx, lane, event))
		case err != nil:
			return r.failed(lane, known.name, err)
		}
		known = r.seenOf(there)
		r.events.Add(lane, known)
	}
	return r.count(ctx, lane, event.Namespace, known, tasks)
}

// create makes an Event, and remembers the Event as the lane's.
func (r *Reporter) create(ctx context.Context, lane deliver.Lane, event *corev1.Event) error {
	created := &corev1.Event{}
	err := r.Client.Post().Namespace(event.Namespace).Resource("events").Body(event).MaxRetries(0).Do(ctx).Into(created)
	if err == nil {
		r.events.Add(lane, r.seenOf(created))
	}
	return err
}

// sameEvent reports whether two Events are of one object and reason, and of the agent of one node.
func sameEvent(a, b *corev1.Event) bool {
	return a.Source == b.Source && a.Reason == b.Reason && a.Type == b.Type && a.InvolvedObject.Kind == b.InvolvedObject.Kind &&
		a.InvolvedObject.Name == b.InvolvedObject.Name && a.InvolvedObject.UID == b.InvolvedObject.UID
}

// count has an Event count the tasks that it does not yet.
func (r *Reporter) count(ctx context.Context, lane deliver.Lane, namespace string, known seen, tasks []deliver.Task) error {
	news := known.reported.news(tasks)
	if len(news) == 0 {
		return nil
	}
	last := news[len(news)-1]
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"resourceVersion": known.version,
			"annotations":     map[string]string{annotationReported: known.reported.with(news).String()},
		},
		"count":         known.count + int32(len(news)),
		"lastTimestamp": metav1.NewTime(last.Time),
		"message":       last.Text,
	})
	if err != nil {
		return &deliver.SkipError{Reason: deliver.Refused, Err: err}
	}
	changed, err := r.patch(ctx, namespace, known.name, body)
	if err != nil {
		return r.failed(lane, known.name, err)
	}
	r.events.Add(lane, r.seenOf(changed))
	return nil
}

// patch changes an Event, and returns it. An empty patch reads it with no more
// rights than those to patch.
func (r *Reporter) patch(ctx context.Context, namespace, eventName string, body []byte) (*corev1.Event, error) {
	event := &corev1.Event{}
	err := r.Client.Patch(types.MergePatchType).Namespace(namespace).Resource("events").Name(eventName).
		Body(body).MaxRetries(0).Do(ctx).Into(event)
	return event, err
}

// failed says what a failed read or change means. What is known of the Event stays
// known after an answer that says nothing of it: a change names the version that it
// changes, so one that was made, and whose answer was lost, is a conflict next time.
func (r *Reporter) failed(lane deliver.Lane, name string, err error) error {
	switch {
	case apierrors.IsNotFound(err): // its time is over
		r.events.Remove(lane)
		return &deliver.RetryError{Reason: deliver.Conflict, Err: err}
	case apierrors.IsConflict(err):
		r.events.Add(lane, seen{name: name})
	}
	return deliver.Judge(err)
}

// event is a new Event for tasks, without a name.
func (r *Reporter) event(object corev1.ObjectReference, tasks []deliver.Task) *corev1.Event {
	first, last := tasks[0], tasks[len(tasks)-1]
	namespace := cmp.Or(object.Namespace, metav1.NamespaceDefault)
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   namespace,
			Annotations: map[string]string{annotationReported: reported(nil).with(tasks).String()},
		},
		InvolvedObject: object, Reason: r.reason, Message: last.Text, Type: corev1.EventTypeWarning,
		Source:         corev1.EventSource{Component: Component, Host: r.Node},
		FirstTimestamp: metav1.NewTime(first.Time), LastTimestamp: metav1.NewTime(last.Time),
		Count: int32(len(tasks)), ReportingController: Component, ReportingInstance: r.Node,
	}
}

// eventName is the same for the same lane in every life of the agent.
func eventName(lane deliver.Lane, object corev1.ObjectReference) string {
	h := fnv.New64a()
	for _, part := range []string{string(object.UID), lane.Owner, lane.Container, lane.Group} {
		_, _ = h.Write(append([]byte(part), 0))
	}
	suffix := fmt.Sprintf(".%016x", h.Sum64())
	prefix := object.Name[:min(len(object.Name), maxName-len(suffix))]
	return strings.TrimRight(prefix, "-.") + suffix
}
