//go:build linux

package agentapi

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
)

// TestDescheduler runs the stock descheduler with the policy of runtime-class. The descheduler
// evicts the victim of a node-wide OOM, whose owner then makes a new pod. It leaves alone the
// victim at its container's limit and the pod that had no OOM.
func TestDescheduler(t *testing.T) {
	const program, policy = "../../.cache/bin/descheduler", "../../runtime-class/descheduler/policy.yaml"
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the descheduler is not built: %v\n\"make descheduler\" builds it, which takes minutes", err)
	}
	p := ready(t)
	p.StartControllers(t, "replicaset-controller,disruption-controller,namespace-controller")
	for _, name := range []string{nodeName, "node-b"} {
		makeNode(t, p, name)
	}
	pods := makeReplicas(t, p, 3)
	a := startAgent(t, p.Config, func(o *agenttest.KubeOptions) { o.Label = "oom.example.com/victim=true" })
	victim, limited, healthy := &pods[0], &pods[1], &pods[2]
	a.take(t, false, oomEvent(1, oom.CauseContainer, limited), oomEvent(2, oom.CauseNode, victim))

	ctx, cancel := context.WithTimeout(t.Context(), controlplane.Deadline)
	defer cancel()
	// Each run is one pass, as a CronJob starts it: the second pass finds nothing to do.
	for range 2 {
		out, err := exec.CommandContext(ctx, program, "--kubeconfig", p.Kubeconfig, "--policy-config-file", policy,
			"--disable-metrics", "--secure-port", "0", "--cert-dir", t.TempDir(), "--v", "1").CombinedOutput()
		if err != nil {
			t.Fatalf("descheduler: %v\n%s", err, out)
		}
		t.Logf("descheduler:\n%s", out)
		controlplane.Until(t, "three pods again, the victim not among them", func() bool {
			names := replicas(t, p)
			return len(names) == 3 && !names[victim.Name]
		})
		setRunning(t, p)
	}
	names := replicas(t, p)
	if !names[limited.Name] || !names[healthy.Name] {
		t.Errorf("%s or %s was evicted too: there are %v", limited.Name, healthy.Name, names)
	}
}

func makeNode(t *testing.T, p *controlplane.Plane, name string) {
	t.Helper()
	nodes := p.Client.CoreV1().Nodes()
	node, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
	}}
	if _, err := nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// makeReplicas makes a ReplicaSet, and returns its pods with a status that says Running.
func makeReplicas(t *testing.T, p *controlplane.Plane, n int32) []corev1.Pod {
	t.Helper()
	labels := map[string]string{"app": "replica"}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "replica"},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeName: nodeName, TerminationGracePeriodSeconds: new(int64(0)),
					Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/app:1"}},
				},
			},
		},
	}
	if _, err := p.Client.AppsV1().ReplicaSets("default").Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	controlplane.Until(t, "the ReplicaSet's pods", func() bool { return len(replicas(t, p)) == int(n) })
	return setRunning(t, p)
}

// replicas returns the names of the ReplicaSet's pods.
func replicas(t *testing.T, p *controlplane.Plane) map[string]bool {
	t.Helper()
	list, err := p.Client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=replica"})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, pod := range list.Items {
		names[pod.Name] = true
	}
	return names
}

// setRunning writes the status that kubelet would write for each replica, and waits until the
// replicas are as old as the policy demands.
func setRunning(t *testing.T, p *controlplane.Plane) []corev1.Pod {
	t.Helper()
	pods := p.Client.CoreV1().Pods("default")
	list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app=replica"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		controlplane.Until(t, "the pod's age", func() bool { return time.Since(pod.CreationTimestamp.Time) > 3*time.Second })
	}
	return list.Items
}
