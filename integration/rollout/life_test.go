//go:build linux

package rollout

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/controlplane"
)

// TestLifeOnTwoNodes: the chart is installed on two nodes, upgraded, rolled back, given other
// names, refused its uninstall while a pod uses the shim, and uninstalled, each time with Helm's
// wait.
func TestLifeOnTwoNodes(t *testing.T) {
	p := plane(t)
	p.StartControllers(t, "daemonset-controller,job-controller")
	p.StartScheduler(t)
	for _, name := range []string{"node-a", "node-b"} {
		makeNode(t, p, name, nil)
	}
	command := command(t)
	k := startKubelets(t, p, command)
	const chart = "../../runtime-class/chart"
	do := func(args ...string) {
		t.Helper()
		if said, err := helm(t.Context(), t, p, append(args, "--wait", "--timeout", "4m")...); err != nil {
			t.Fatalf("helm %s: %v\n%s\n%s", args[0], err, said, k.output())
		}
	}
	do("install", "oomwitness", chart, "--create-namespace")
	both := []string{"node-a", "node-b"}
	labelled(t, p, both...)
	if out := status(t, p, command); !strings.Contains(out, "2 of 2 nodes are ready") {
		t.Errorf("cluster status says\n%s", out)
	}
	first := setupPods(t, p, "")
	do("upgrade", "oomwitness", chart, "--set", "daemonSet.podAnnotations.new=yes")
	labelled(t, p, both...)
	second := setupPods(t, p, "yes")
	do("rollback", "oomwitness", "1")
	labelled(t, p, both...)
	third := setupPods(t, p, "")
	for _, uid := range slices.Concat(first, second, third) {
		if n := strings.Count(strings.Join(slices.Concat(first, second, third), " "), uid); n != 1 {
			t.Errorf("pod %s is one of %d revisions", uid, n)
		}
	}
	// Under other names the nodes stay set up, and the uninstall finds them.
	do("upgrade", "oomwitness", chart, "--set", "fullnameOverride=other,nameOverride=name")
	labelled(t, p, both...)

	class := "oomwitness"
	pods := p.Client.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       corev1.PodSpec{RuntimeClassName: &class, Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/a"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	controlplane.Until(t, "the pod runs", func() bool {
		pod, err := pods.Get(t.Context(), "app", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning
	})
	if said, err := helm(t.Context(), t, p, "uninstall", "oomwitness", "--wait", "--timeout", "2m"); err == nil {
		t.Fatalf("the uninstall was not refused:\n%s", said)
	}
	if !strings.Contains(k.output(), "default/app on node-") {
		t.Errorf("the refusal does not name the pod:\n%s", k.output())
	}
	labelled(t, p, both...)

	if err := pods.Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controlplane.Until(t, "the pod is gone", func() bool {
		list, err := pods.List(t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) == 0
	})
	do("uninstall", "oomwitness")
	labelled(t, p)
	if !strings.Contains(k.output(), "2 nodes have removed the shim") {
		t.Errorf("the uninstall says\n%s", k.output())
	}
	if out, err := helm(t.Context(), t, p, "list", "-q"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("helm list: %v, %q", err, out)
	}
}

// labelled wants the nodes that carry the shim to be these.
func labelled(t *testing.T, p *controlplane.Plane, want ...string) {
	t.Helper()
	list, err := p.Client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: label + "=true"})
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for i := range list.Items {
		have = append(have, list.Items[i].Name)
	}
	if slices.Sort(have); !slices.Equal(have, want) {
		t.Errorf("the nodes with the label are %v, want %v", have, want)
	}
}

// setupPods returns the UIDs of the DaemonSet's pods, two with this annotation.
func setupPods(t *testing.T, p *controlplane.Plane, annotation string) (uids []string) {
	t.Helper()
	list, err := p.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: component + "=node"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		if pod := &list.Items[i]; pod.DeletionTimestamp == nil && pod.Annotations["new"] == annotation {
			uids = append(uids, string(pod.UID))
		}
	}
	if len(uids) != 2 {
		t.Errorf("%d of %d pods have the annotation %q, want 2", len(uids), len(list.Items), annotation)
	}
	return uids
}
