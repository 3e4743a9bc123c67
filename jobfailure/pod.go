package jobfailure

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of a container's end and of a pod's failure, as kubelet writes them.
const (
	reasonOOMKilled     = "OOMKilled"
	reasonStatusUnknown = "ContainerStatusUnknown"
	reasonEvicted       = "Evicted"
)

// refusals are reasons of pods that kubelet did not start, or ended for its own reasons, and
// that get no condition DisruptionTarget.
var refusals = map[string]bool{
	"NodeAffinity": true, "NodeLost": true, "NodeShutdown": true, "OutOfcpu": true, "OutOfmemory": true, "OutOfpods": true,
	"Preempting": true, "Shutdown": true, "Terminated": true, "UnexpectedAdmissionError": true,
}

// PodFailure is the reason why a pod has failed.
type PodFailure struct {
	Class Class
	// Certain says that no other reason is possible. An OutOfMemory is certain if the container
	// shows the exit code for OOMs. An Application is certain if an OOM would have shown that
	// exit code.
	Certain bool
	// Container is the container that failed first, "" if none did.
	Container string
	// ExitCode, Reason and Message are the container's. Without a container, Reason and Message
	// are those of the pod or of its condition.
	ExitCode        int32
	Reason, Message string
}

// ClassifyPod returns why a pod has failed. It returns false for a pod that has not failed. It is
// for controllers that make pods themselves; for a Job use Classify.
//
// oomExitCode is as for Classify: the exit code that the pod's annotation
// oomwitness.io/oom-exit-code sets, 0 for none.
//
// A disruption that began before the first container failed is the reason. Otherwise the
// container that failed first decides.
func ClassifyPod(pod *corev1.Pod, oomExitCode int32) (PodFailure, bool) {
	if pod == nil || pod.Status.Phase != corev1.PodFailed {
		return PodFailure{}, false
	}
	name, end := firstFailed(pod)
	if c := disruption(pod); c != nil && (end == nil || !before(end.FinishedAt, c.LastTransitionTime)) {
		return PodFailure{Class: Infrastructure, Certain: true, Reason: c.Reason, Message: c.Message}, true
	}
	if f, ok := byPodReason(pod); ok {
		return f, true
	}
	f := PodFailure{Class: Unknown, Reason: pod.Status.Reason, Message: pod.Status.Message}
	if end == nil {
		return f, true
	}
	f = PodFailure{Class: Unknown, Container: name, ExitCode: end.ExitCode, Reason: end.Reason, Message: end.Message}
	shows := oomExitCode != 0 && oomExitCode != sigKilled
	switch {
	case shows && end.ExitCode == oomExitCode:
		f.Class, f.Certain = OutOfMemory, true
	case end.Reason == reasonOOMKilled:
		f.Class = OutOfMemory
	case end.Reason == reasonStatusUnknown: // kubelet has lost the container
		f.Class = Infrastructure
	case end.ExitCode == sigKilled: // the sender is not known
	default:
		f.Class, f.Certain = Application, shows
	}
	return f, true
}

// disruption returns the condition of a pod that was evicted, drained or preempted.
func disruption(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c
		}
	}
	return nil
}

// byPodReason returns the class by the reason of the pod's own status. An eviction without the
// condition DisruptionTarget is for a limit of the pod itself, such as the limit of its
// ephemeral storage (pkg/kubelet/eviction/eviction_manager.go of Kubernetes).
func byPodReason(pod *corev1.Pod) (PodFailure, bool) {
	f := PodFailure{Reason: pod.Status.Reason, Message: pod.Status.Message}
	switch {
	case f.Reason == reasonDeadlineExceeded:
		f.Class, f.Certain = Timeout, true
	case f.Reason == reasonEvicted:
		f.Class = Application
	case refusals[f.Reason]:
		f.Class = Infrastructure
	default:
		return PodFailure{}, false
	}
	return f, true
}

// firstFailed returns the container that ended first of those that failed. If two ended in the
// same second, it returns the OOM-killed one. Sidecars, which are init containers that are
// always restarted, do not fail a pod. Kubelet takes an init container with the reason OOMKilled
// for failed at exit code 0 too (isInitContainerFailed in pkg/kubelet/kuberuntime of Kubernetes);
// a shim that reports the OOM kill of a child leads to that.
func firstFailed(pod *corev1.Pod) (name string, first *corev1.ContainerStateTerminated) {
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		sidecars[c.Name] = c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	}
	for n, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		isInit := n == 0
		for i := range list {
			end := list[i].State.Terminated
			if end == nil || sidecars[list[i].Name] || end.ExitCode == 0 && (!isInit || end.Reason != reasonOOMKilled) {
				continue
			}
			same := first != nil && end.FinishedAt.Equal(&first.FinishedAt)
			if first == nil || before(end.FinishedAt, first.FinishedAt) ||
				same && end.Reason == reasonOOMKilled && first.Reason != reasonOOMKilled {
				name, first = list[i].Name, end
			}
		}
	}
	return name, first
}

// before reports whether a time is before another. A container that kubelet has lost has no time
// at which it finished: nobody knows that it was the first.
func before(a, b metav1.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(&b))
}
