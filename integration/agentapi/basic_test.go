//go:build linux

package agentapi

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// TestAPI shares one control plane among tests that do not disturb it.
func TestAPI(t *testing.T) {
	p := ready(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *controlplane.Plane)
	}{
		{"event", event}, {"event on the node", eventOnNode}, {"reported once", reportedOnce}, {"dry run", dryRun},
		{"event changed by others", eventChanged}, {"event expired", eventExpired}, {"namespace gone", namespaceGone},
		{"mark", marked}, {"pod recreated", recreated}, {"pod gone", podGone}, {"mark beside others", markConflict},
		{"evict", evicted}, {"evict within a budget", budget}, {"spared", spared},
		{"roles", roles}, {"role without marks", roleWithoutMarks}, {"storm", storm}, {"pods", watchedPods},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, p) })
	}
}

// eventsOf returns the Events on an object, by the object's name.
func eventsOf(t *testing.T, p *controlplane.Plane, namespace, name string) []corev1.Event {
	t.Helper()
	list, err := p.Client.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func event(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "event", nil)
	a := startAgent(t, p.Config, nil)
	a.take(t, false, oomEvent(1, oom.CauseContainer, pod), oomEvent(2, oom.CauseContainer, pod), oomEvent(3, oom.CauseNode, pod))
	events := eventsOf(t, p, "default", pod.Name)
	if len(events) != 2 {
		t.Fatalf("%d Events, want one for each cause: %+v", len(events), events)
	}
	for _, e := range events {
		want := corev1.ObjectReference{
			Kind: "Pod", APIVersion: "v1", Namespace: "default", Name: pod.Name, UID: pod.UID, FieldPath: "spec.containers{app}",
		}
		if e.InvolvedObject != want || e.Reason != "OOMKilling" || e.Type != "Warning" || e.Source.Host != nodeName {
			t.Errorf("got %+v", e)
		}
		count, text := int32(2), "the container's memory limit of 1.0 GiB was reached"
		if strings.Contains(e.Message, "the node was out of memory") {
			count, text = 1, "the node was out of memory"
		}
		if e.Count != count || !strings.Contains(e.Message, text) || !strings.Contains(e.Message, "python3 (pid 400") {
			t.Errorf("count %d, want %d, message %q", e.Count, count, e.Message)
		}
		t.Logf("x%d %s", e.Count, e.Message)
	}
	if reported := a.counts.get("event reported"); reported != 3 {
		t.Errorf("counted %s, want 3 reported", a.counts.all())
	}
}

func eventOnNode(t *testing.T, p *controlplane.Plane) {
	a := startAgent(t, p.Config, nil)
	a.take(t, false, oomEvent(11, oom.CauseNode, nil))
	events := eventsOf(t, p, "default", nodeName)
	if len(events) != 1 || events[0].InvolvedObject.Kind != "Node" || string(events[0].InvolvedObject.UID) != nodeName {
		t.Fatalf("got %+v", events)
	}
}

// reportedOnce starts a second agent after one that was killed before it noted its reports. The
// second agent reports everything again, and the API server has each report once.
func reportedOnce(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "once", nil)
	first := startAgent(t, p.Config, nil)
	one, two := oomEvent(21, oom.CausePod, pod), oomEvent(22, oom.CausePod, pod)
	first.take(t, false, one)
	first.take(t, false, two)
	first.stop()
	second := startAgent(t, p.Config, nil)
	second.take(t, true, one, two, oomEvent(23, oom.CausePod, pod))
	third := startAgent(t, p.Config, nil)
	third.take(t, true, two)
	events := eventsOf(t, p, "default", pod.Name)
	if len(events) != 1 || events[0].Count != 3 {
		t.Fatalf("got %d Events, %+v, want one that counts 3", len(events), events)
	}
}

func dryRun(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "dry", managed)
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { o.DryRun, o.Evict, o.Label = true, true, "example.com/oom=true" })
	a.take(t, false, oomEvent(31, oom.CauseNode, pod))
	if n := a.calls.get("POST events") + a.calls.get("PATCH pods") + a.calls.get("POST eviction"); n != 0 {
		t.Errorf("%d requests that write", n)
	}
	if a.counts.get("event skipped dry_run") != 1 || a.counts.get("mark skipped dry_run") != 2 {
		t.Errorf("counted %s", a.counts.all())
	}
}

func withMarks(o *agenttest.KubeOptions) {
	o.Annotation, o.Label = "example.com/oom=seen by the agent", "example.com/oom-victim=true"
}

func marked(t *testing.T, p *controlplane.Plane) {
	limited, node := makePod(t, p, "limited", nil), makePod(t, p, "victim", nil)
	a := startAgent(t, p.Config, withMarks)
	a.take(t, false, oomEvent(41, oom.CauseContainer, limited), oomEvent(42, oom.CauseNode, node))
	got := getPod(t, p, node.Name)
	if got.Annotations["example.com/oom"] != "seen by the agent" || got.Labels["example.com/oom-victim"] != "true" || got.Labels["app"] != "victim" {
		t.Errorf("the node's victim has %v, %v", got.Annotations, got.Labels)
	}
	if got := getPod(t, p, limited.Name); got.ResourceVersion != limited.ResourceVersion {
		t.Errorf("a pod at its container's limit was changed: %v, %v", got.Annotations, got.Labels)
	}
	if a.counts.get("mark marked") != 1 || a.counts.get("mark skipped cause_excluded") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

// recreated: a new pod with the old pod's name is neither marked nor evicted.
func recreated(t *testing.T, p *controlplane.Plane) {
	old := makePod(t, p, "again", managed)
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { withMarks(o) })
	deletePod(t, p, old.Name)
	fresh := makePod(t, p, "again", managed)
	a.take(t, false, oomEvent(51, oom.CauseNode, old))
	if got := getPod(t, p, "again"); got.ResourceVersion != fresh.ResourceVersion {
		t.Errorf("the new pod was changed: %v, %v", got.Annotations, got.Labels)
	}
	if a.counts.get("mark skipped pod_recreated") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

func podGone(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "gone", nil)
	a := startAgent(t, p.Config, withMarks)
	deletePod(t, p, pod.Name)
	a.take(t, false, oomEvent(61, oom.CauseNode, pod))
	if a.counts.get("mark skipped pod_gone") != 1 || a.counts.get("event reported") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
	if events := eventsOf(t, p, "default", pod.Name); len(events) != 1 {
		t.Errorf("a pod that is gone has %d Events, want 1", len(events))
	}
}

// markConflict: a mark succeeds at once while others change the pod all the time, and reverts
// none of their changes.
func markConflict(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "busy", nil)
	a := startAgent(t, p.Config, withMarks)
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				stopped <- n
				return
			default:
			}
			busy, err := p.Client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{})
			if err != nil {
				continue
			}
			metav1.SetMetaDataAnnotation(&busy.ObjectMeta, "example.com/other", string(rune('a'+n%26)))
			if _, err := p.Client.CoreV1().Pods("default").Update(t.Context(), busy, metav1.UpdateOptions{}); err == nil {
				n++
			}
		}
	}()
	controlplane.Until(t, "a change by others", func() bool { return getPod(t, p, pod.Name).Annotations["example.com/other"] != "" })
	a.take(t, false, oomEvent(71, oom.CauseNode, pod))
	close(stop)
	changes := <-stopped
	got := getPod(t, p, pod.Name)
	if got.Annotations["example.com/oom"] == "" || got.Annotations["example.com/other"] != string(rune('a'+(changes-1)%26)) {
		t.Errorf("after %d changes by others: %v", changes, got.Annotations)
	}
	if a.counts.get("mark marked") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

// managed sets the controller of a pod.
func managed(pod *corev1.Pod) {
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "set", UID: "set", Controller: new(true)}}
}

func evicted(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "evicted", managed)
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { o.Evict = true })
	a.take(t, false, oomEvent(81, oom.CauseNode, pod))
	if _, err := p.Client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod: %v, want not found", err)
	}
	if a.counts.get("mark evicted") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

// budget: a PodDisruptionBudget that allows no disruption delays the eviction. As soon as the
// budget allows one, the agent evicts the pod.
func budget(t *testing.T, p *controlplane.Plane) {
	pod := makePod(t, p, "budget", managed)
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if _, err := p.Client.CoreV1().Pods("default").UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	budgets := p.Client.PolicyV1().PodDisruptionBudgets("default")
	pdb, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "budget"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "budget"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// allow writes the status as the disruption controller does.
	allow := func(n int32) {
		pdb.Status.ObservedGeneration, pdb.Status.DisruptionsAllowed = pdb.Generation, n
		if pdb, err = budgets.UpdateStatus(t.Context(), pdb, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	allow(0)
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { o.Evict = true })
	a.Queue.Take(oomEvent(91, oom.CauseNode, pod))
	controlplane.Until(t, "an eviction refused for the budget", func() bool { return a.counts.get("mark error budget") > 0 })
	if got := getPod(t, p, pod.Name); got.DeletionTimestamp != nil {
		t.Fatal("evicted against the budget")
	}
	allow(1)
	a.wait(t, 1)
	if _, err := p.Client.CoreV1().Pods("default").Get(t.Context(), pod.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod: %v, want not found", err)
	}
	if a.counts.get("mark evicted") != 1 {
		t.Errorf("counted %s", a.counts.all())
	}
}

// spared: the agent does not evict a pod that would come back to the same node, or not at all.
func spared(t *testing.T, p *controlplane.Plane) {
	pods := map[string]*corev1.Pod{
		"unmanaged_pod": makePod(t, p, "bare", func(pod *corev1.Pod) { // claims to be a mirror pod, and is none
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "abcdef", "kubernetes.io/config.hash": "abcdef"}
		}),
		"daemonset_pod": makePod(t, p, "daemon", func(pod *corev1.Pod) {
			managed(pod)
			pod.OwnerReferences[0].Kind = "DaemonSet"
		}),
		"static_pod": makePod(t, p, "mirror", func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "abcdef", "kubernetes.io/config.source": "file"}
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: nodeName, UID: "n", Controller: new(true)}}
		}),
		"critical_pod": makePod(t, p, "critical", func(pod *corev1.Pod) {
			managed(pod)
			pod.Spec.PriorityClassName = "system-node-critical"
		}),
	}
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { o.Evict = true })
	n := uint64(100)
	for reason, pod := range pods {
		n++
		a.take(t, false, oomEvent(n, oom.CauseNode, pod))
		if got := getPod(t, p, pod.Name); got.DeletionTimestamp != nil || a.counts.get("mark skipped "+reason) != 1 {
			t.Errorf("%s: counted %s", reason, a.counts.all())
		}
	}
	if n := a.calls.get("POST eviction"); n != 0 {
		t.Errorf("%d evictions asked for", n)
	}
}
