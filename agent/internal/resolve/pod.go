package resolve

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// configSource is an annotation of kubelet's: where the pod came from
// (pkg/kubelet/types in Kubernetes).
const configSource = "kubernetes.io/config.source"

// maxIDs is how many IDs are kept of one container: its current state's, the last
// one's, and those before that the watch has seen.
const maxIDs = 4

// entry is a pod in the store.
type entry struct {
	Pod
	// hash is a static pod's UID on the node, "" for others.
	hash string
	// created is when the pod was made, since when the first mirror of its name and hash was.
	created, since time.Time
	// gone is when the API server had the pod no more, zero while the pod is there.
	gone time.Time
}

// mirrorOf returns the UID of the static pod that a pod of the API server is the mirror
// of, "" for any other pod. Kubelet writes that UID into an annotation that nobody can
// change later, names its node as the owner (NodeRestriction has it no other), and
// says that the pod came from the node (pkg/kubelet/pod/mirror_client.go in
// Kubernetes). One of these alone is on any pod whose author likes.
func mirrorOf(pod *corev1.Pod, node string) string {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node || pod.Spec.NodeName != node {
		return ""
	}
	if source := pod.Annotations[configSource]; source != "file" && source != "http" {
		return ""
	}
	return pod.Annotations[corev1.MirrorPodAnnotationKey]
}

// compact takes from a pod what is kept. before is the same pod's entry, if any:
// the IDs that its containers had stay.
func compact(pod *corev1.Pod, node string, before *entry) *entry {
	e := &entry{hash: mirrorOf(pod, node), created: pod.CreationTimestamp.Time, since: pod.CreationTimestamp.Time}
	e.UID, e.Namespace, e.Name = string(pod.UID), pod.Namespace, pod.Name
	e.Static = e.hash != ""
	owner := metav1.GetControllerOfNoCopy(pod)
	e.Managed = owner != nil
	e.DaemonSet = owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/")
	e.Critical = pod.Spec.PriorityClassName == "system-node-critical" || pod.Spec.PriorityClassName == "system-cluster-critical"
	e.Finished = pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	for _, c := range pod.Spec.InitContainers {
		kind := KindInit
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = KindSidecar
		}
		e.Containers = append(e.Containers, Container{Name: c.Name, Image: c.Image, Kind: kind})
	}
	for _, c := range pod.Spec.Containers {
		e.Containers = append(e.Containers, Container{Name: c.Name, Image: c.Image, Kind: KindContainer})
	}
	for _, c := range pod.Spec.EphemeralContainers {
		e.Containers = append(e.Containers, Container{Name: c.Name, Image: c.Image, Kind: KindEphemeral})
	}
	for i := range e.Containers {
		c := &e.Containers[i]
		c.IDs = idsOf(pod, c.Name)
		if before != nil {
			c.IDs = withFormer(c.IDs, before.Containers, c.Name)
		}
	}
	return e
}

// idsOf returns a container's IDs, the current first.
func idsOf(pod *corev1.Pod, name string) []string {
	var ids []string
	add := func(id string) {
		if _, bare, ok := strings.Cut(id, "://"); ok && bare != "" && !slices.Contains(ids, bare) {
			ids = append(ids, bare)
		}
	}
	status := &pod.Status
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.Name != name {
				continue
			}
			add(s.ContainerID)
			for _, state := range []corev1.ContainerState{s.State, s.LastTerminationState} {
				if state.Terminated != nil {
					add(state.Terminated.ContainerID)
				}
			}
		}
	}
	return ids
}

func withFormer(ids []string, before []Container, name string) []string {
	for _, c := range before {
		if c.Name != name {
			continue
		}
		for _, id := range c.IDs {
			if len(ids) < maxIDs && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// strip takes all off a pod that compact has no use for, so that a list of pods
// is small also while it is read.
func strip(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion,
		CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp, OwnerReferences: pod.OwnerReferences,
	}}
	for _, key := range []string{configSource, corev1.MirrorPodAnnotationKey} {
		if value, ok := pod.Annotations[key]; ok {
			metav1.SetMetaDataAnnotation(&out.ObjectMeta, key, value)
		}
	}
	out.Spec.PriorityClassName, out.Spec.NodeName = pod.Spec.PriorityClassName, pod.Spec.NodeName
	for _, c := range first(pod.Spec.InitContainers) {
		out.Spec.InitContainers = append(out.Spec.InitContainers, corev1.Container{Name: c.Name, Image: imageText(c.Image), RestartPolicy: c.RestartPolicy})
	}
	for _, c := range first(pod.Spec.Containers) {
		out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, Image: imageText(c.Image)})
	}
	for _, c := range first(pod.Spec.EphemeralContainers) {
		common := corev1.EphemeralContainerCommon{Name: c.Name, Image: imageText(c.Image)}
		out.Spec.EphemeralContainers = append(out.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: common})
	}
	out.Status.Phase = pod.Status.Phase
	out.Status.InitContainerStatuses = stripStatuses(pod.Status.InitContainerStatuses)
	out.Status.ContainerStatuses = stripStatuses(pod.Status.ContainerStatuses)
	out.Status.EphemeralContainerStatuses = stripStatuses(pod.Status.EphemeralContainerStatuses)
	return out, nil
}

// maxContainers bounds those of each kind that are kept of a pod.
const maxContainers = 1024

func first[T any](list []T) []T { return list[:min(len(list), maxContainers)] }

// maxImage is more than the name, tag and digest of any image have, in bytes. The API server takes
// an image of any length, also for a container that runs.
const maxImage = 512

func imageText(image string) string {
	return strings.ToValidUTF8(strings.Clone(image[:min(len(image), maxImage)]), "")
}

func stripStatuses(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	list = first(list)
	out := make([]corev1.ContainerStatus, 0, len(list))
	for _, s := range list {
		out = append(out, corev1.ContainerStatus{
			Name: s.Name, ContainerID: s.ContainerID,
			State: stripState(s.State), LastTerminationState: stripState(s.LastTerminationState),
		})
	}
	return out
}

func stripState(s corev1.ContainerState) corev1.ContainerState {
	if s.Terminated == nil {
		return corev1.ContainerState{}
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: s.Terminated.ContainerID}}
}
