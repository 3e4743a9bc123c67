//go:build linux

// Package rollout tests how the chart reaches the nodes of a cluster, against a real API server
// with the DaemonSet's controller and the scheduler. There is no kubelet: the tests write what
// the pods report.
package rollout

import (
	"bytes"
	"context"
	"os/exec"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/oomwitness/oomwitness/integration/controlplane"
)

const (
	namespace = "oomwitness"
	label     = "oomwitness.io/shim"
	taint     = "oomwitness.io/not-ready"
)

// plane returns a control plane with its namespaces.
func plane(t *testing.T) *controlplane.Plane {
	t.Helper()
	p := controlplane.Start(t)
	p.WaitNamespace(t)
	return p
}

// makeNode makes a node that can run pods.
func makeNode(t *testing.T, p *controlplane.Plane, name string, labels map[string]string, taints ...corev1.Taint) {
	t.Helper()
	all := map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}
	for key, value := range labels {
		all[key] = value
	}
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("50"),
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all}, Spec: corev1.NodeSpec{Taints: taints}}
	nodes := p.Client.CoreV1().Nodes()
	made, err := nodes.Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status = corev1.NodeStatus{
		Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
	}
	if _, err := nodes.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The admission plugin TaintNodesByCondition taints each new node. The controller that
	// removes the taint does not run here.
	made, err = nodes.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil {
		made.Spec.Taints = taints
		_, err = nodes.Update(t.Context(), made, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// helm runs Helm against the plane.
func helm(ctx context.Context, t *testing.T, p *controlplane.Plane, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "../../.cache/bin/helm", append(args, "--kubeconfig", p.Kubeconfig, "-n", namespace)...)
	cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// report writes the status of the DaemonSet's pod on a node as kubelet writes it: the end of
// the init step with its message, and whether the pod is ready.
func report(t *testing.T, p *controlplane.Plane, node string, code int32, message string) {
	t.Helper()
	pods := p.Client.CoreV1().Pods(namespace)
	var pod *corev1.Pod
	controlplane.Until(t, "the pod on "+node, func() bool {
		list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=node"})
		if err != nil {
			return false
		}
		for i := range list.Items {
			// The controller sends a pod to its node by affinity; the scheduler binds it.
			if list.Items[i].Spec.NodeName == node {
				pod = &list.Items[i]
			}
		}
		return pod != nil
	})
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: message, Reason: "Error"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "node", State: ended}}
	if code == 0 {
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	}
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// nodeToken returns a client with the token of the DaemonSet's pod on a node.
func nodeToken(t *testing.T, p *controlplane.Plane, node string) kubernetes.Interface {
	t.Helper()
	pod, err := p.Client.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "token-"},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "oomwitness", Containers: []corev1.Container{{Name: "a", Image: "registry.invalid/a"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := configOf(t.Context(), p, pod)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func patch(t *testing.T, as kubernetes.Interface, node, body string, dryRun ...string) error {
	t.Helper()
	_, err := as.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: dryRun})
	return err
}
