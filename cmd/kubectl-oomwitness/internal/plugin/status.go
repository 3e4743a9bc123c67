package plugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/text"
)

const (
	oomKilled = "OOMKilled"
	// maxNotes are the Events of a pod that are shown.
	maxNotes = 5
)

// addStatus adds what the status of a pod says: ends that the agent does not know, restarts,
// requests and limits.
func (c *whyCommand) addStatus(d *why.Document, pod *corev1.Pod) {
	for _, status := range c.statuses(pod) {
		for _, ended := range []*corev1.ContainerStateTerminated{status.LastTerminationState.Terminated, status.State.Terminated} {
			if ended != nil && !knows(d, idOf(ended.ContainerID)) {
				d.Runs = append(d.Runs, runOf(d, pod, &status, ended))
			}
		}
		id := idOf(status.ContainerID)
		if running := status.State.Running; running != nil && !slices.ContainsFunc(d.Runs, func(r why.Run) bool { return r.Container.ID == id && r.Running }) {
			d.Runs = append(d.Runs, why.Run{
				Pod:       &why.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)},
				Container: why.Container{ID: id, Name: status.Name, Image: status.Image}, Running: true,
			})
		}
	}
	why.Sort(d.Runs)
	merged := slices.ContainsFunc(d.Runs, func(r why.Run) bool { return r.Node != "" })
	older := 0
	for i := range d.Runs {
		if merged && d.Runs[i].Node == "" {
			d.Runs[i].Node = pod.Spec.NodeName
		}
		if !isOf(&d.Runs[i], pod) {
			older++
			d.Runs[i].Lacks("request_bytes", "the pod of this run was deleted")
			continue
		}
		addSpec(&d.Runs[i], pod)
	}
	if older > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("runs of an earlier pod with the same name: %d (-o json has the UID of each pod)", older))
	}
}

// statuses returns the statuses of the containers that are asked for.
func (c *whyCommand) statuses(pod *corev1.Pod) []corev1.ContainerStatus {
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses)
	return slices.DeleteFunc(all, func(s corev1.ContainerStatus) bool { return c.container != "" && s.Name != c.container })
}

// configHash is the annotation with the UID that kubelet gives to the containers of a
// static pod: the API server's pod has another UID.
const configHash = "kubernetes.io/config.hash"

// isOf reports whether a run is the pod's, and not that of an earlier pod with the same
// name. A run whose pod has no UID counts as the pod's.
func isOf(r *why.Run, pod *corev1.Pod) bool {
	return r.Pod == nil || r.Pod.UID == "" || r.Pod.UID == string(pod.UID) || r.Pod.UID == pod.Annotations[configHash]
}

// idOf returns a container's ID without the name of its runtime.
func idOf(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

// knows reports whether a document has a run that ended, also if nobody has the status. A
// run that is known by its OOM event alone is replaced.
func knows(d *why.Document, id string) bool {
	return slices.ContainsFunc(d.Runs, func(r why.Run) bool { return isSame(&r, id) && r.EndedAt != nil })
}

// isSame reports whether a run is of a container by its ID. kubelet may have no ID.
func isSame(r *why.Run, id string) bool { return id != "" && r.Container.ID == id }

// runOf returns the run of a container that the agent does not know, or knows by its OOM
// event alone, by the pod's status.
func runOf(d *why.Document, pod *corev1.Pod, status *corev1.ContainerStatus, ended *corev1.ContainerStateTerminated) why.Run {
	r := why.Run{
		Pod:       &why.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)},
		Container: why.Container{ID: idOf(ended.ContainerID), Name: status.Name, Image: status.Image},
		Status:    new(int(ended.ExitCode)),
	}
	if ended.FinishedAt.IsZero() { // kubelet found no container (ContainerStatusUnknown)
		r.Lacks("ended_at", "the status of the pod has no time")
	} else {
		r.EndedAt = new(ended.FinishedAt.UTC())
	}
	if i := slices.IndexFunc(d.Runs, func(o why.Run) bool { return isSame(&o, r.Container.ID) }); i >= 0 {
		r.OOM, r.Missing = d.Runs[i].OOM, append(r.Missing, d.Runs[i].Missing...)
		r.Missing = slices.DeleteFunc(slices.Clone(r.Missing), func(m why.Missing) bool { return m.Field == "exit_status" })
		d.Runs = slices.Delete(d.Runs, i, i+1)
	}
	const unasked = "the status of a pod does not say it, and the agent does not know this run"
	switch ended.Reason {
	case oomKilled:
		r.Verdict = &why.Verdict{Ended: why.EndedOOM, InitVictim: "unknown", Evidence: why.EvidenceStatus}
		r.Lacks("oom_event", unasked)
		r.Lacks("cause", unasked)
	default:
		r.Lacks("verdict", fmt.Sprintf("the status of the pod says %q, which does not say who ended the container; an agent and the shim know", text.Clean(ended.Reason)))
	}
	for _, field := range []string{"peak_bytes", "last_day"} {
		r.Lacks(field, unasked)
	}
	return r
}

// addSpec adds to a run what the pod's specification asks for, and the restarts.
func addSpec(r *why.Run, pod *corev1.Pod) {
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if container.Name != r.Container.Name {
			continue
		}
		if request, ok := container.Resources.Requests[corev1.ResourceMemory]; ok {
			r.Memory.Request = new(uint64(max(request.Value(), 0)))
		}
		if limit, ok := container.Resources.Limits[corev1.ResourceMemory]; ok && r.Memory.Limit == nil {
			r.Memory.Limit = new(uint64(max(limit.Value(), 0)))
			r.Memory.Unlimited = false
		}
	}
	r.Missing = slices.DeleteFunc(r.Missing, func(m why.Missing) bool {
		return m.Field == "request_bytes" || m.Field == "limit_bytes" && r.Memory.Limit != nil
	})
	if r.Memory.Request == nil {
		r.Lacks("request_bytes", "the container asks for none")
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if status.Name == r.Container.Name {
			r.Restarts = new(int(status.RestartCount))
		}
	}
}

// addEvents adds the messages of the newest Events on OOM kills in the pod.
func (c *whyCommand) addEvents(ctx context.Context, d *why.Document, pod *corev1.Pod) {
	list, err := c.client.CoreV1().Events(pod.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.Set{"involvedObject.name": pod.Name, "involvedObject.kind": "Pod", "reason": reasonOOM}.String(),
	})
	if err != nil {
		d.Notes = append(d.Notes, "the Events of the pod are not known: "+err.Error())
		return
	}
	events := list.Items
	slices.SortFunc(events, func(a, b corev1.Event) int { return seen(&b).Compare(seen(&a)) })
	for i := range events[:min(len(events), maxNotes)] {
		e := &events[i]
		d.Notes = append(d.Notes, fmt.Sprintf("Event, %s ago, %d times: %s", text.Ago(d.Time.Sub(seen(e))), max(e.Count, 1), e.Message))
	}
	if len(events) == 0 {
		d.Notes = append(d.Notes, "there is no Event of an OOM kill on the pod: an Event is kept for an hour, unless the cluster is set up otherwise")
	}
}
