//go:build linux

package agentapi

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// storm reports a thousand OOM events over 200 pods. Each is counted once, in one Event per
// pod, with at most one request per kill for Events, and one for marks.
func storm(t *testing.T, p *controlplane.Plane) {
	const kills, onPods = 1000, 200
	var pods []*corev1.Pod
	for i := range onPods {
		pods = append(pods, makePod(t, p, fmt.Sprintf("storm-%03d", i), nil))
	}
	var list []agenttest.OOMEvent
	for i := range kills {
		list = append(list, oomEvent(uint64(1000+i), oom.CauseNode, pods[i%onPods]))
	}
	a := startAgent(t, p.Config, withMarks)
	a.take(t, false, list...)
	total := int32(0)
	for _, pod := range pods {
		events := eventsOf(t, p, "default", pod.Name)
		if len(events) != 1 {
			t.Errorf("%s has %d Events, want 1", pod.Name, len(events))
		}
		for _, e := range events {
			total += e.Count
		}
		if getPod(t, p, pod.Name).Labels["example.com/oom-victim"] != "true" {
			t.Errorf("%s is not marked", pod.Name)
		}
	}
	created, changed, marks := a.calls.get("POST events"), a.calls.get("PATCH events"), a.calls.get("PATCH pods")
	t.Logf("metric=storm kills=%d pods=%d counted=%d events_created=%d events_changed=%d marks=%d", kills, onPods, total, created, changed, marks)
	if total != kills || created != onPods || created+changed > kills || marks > kills {
		t.Errorf("counted %d, want %d; %d Events created, want %d; %d changed, %d marks; %s",
			total, kills, created, onPods, changed, marks, a.counts.all())
	}
}

// watchedPods: the store has the pods of its own node alone, with all their containers.
func watchedPods(t *testing.T, p *controlplane.Plane) {
	a := startAgent(t, p.Config, nil)
	pod := makePod(t, p, "kinds", func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "setup", Image: "registry.invalid/setup:1"},
			{Name: "proxy", Image: "registry.invalid/proxy:1", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
		}
	})
	other := makePod(t, p, "elsewhere", func(pod *corev1.Pod) { pod.Spec.NodeName = "node-b" })
	status := func(name, id, last string) corev1.ContainerStatus {
		s := corev1.ContainerStatus{Name: name, Image: "i", ImageID: "i", ContainerID: "containerd://" + id}
		if last != "" {
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "containerd://" + last}
		}
		return s
	}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{status("setup", "a1", ""), status("proxy", "b1", "")}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{status("app", "c2", "c1")}
	if _, err := p.Client.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"a1": agenttest.KindInit, "b1": agenttest.KindSidecar, "c1": agenttest.KindContainer, "c2": agenttest.KindContainer,
	} {
		controlplane.Until(t, "container "+id, func() bool {
			found, _ := a.Pods.ByUID(string(pod.UID))
			c, ok := found.Container(id)
			return ok && c.Kind == want
		})
	}
	deletePod(t, p, pod.Name)
	controlplane.Until(t, "the removal", func() bool {
		kept, ok := a.Pods.ByUID(string(pod.UID))
		return ok && kept.Finished
	})
	if _, ok := a.Pods.ByUID(string(other.UID)); ok {
		t.Error("a pod of another node is known")
	}
	removed, _ := a.Pods.ByUID(string(pod.UID))
	if _, ok := removed.Container("c1"); !ok {
		t.Error("a container of a removed pod is not known any more")
	}
}
