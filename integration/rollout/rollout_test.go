//go:build linux

package rollout

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oomwitness/oomwitness/integration/controlplane"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestUnsupportedNode: Helm's wait succeeds although a node cannot run the shim. The command
// lists the nodes with the shim, and the reason for each of the others.
func TestUnsupportedNode(t *testing.T) {
	p := plane(t)
	p.StartControllers(t, "daemonset-controller")
	p.StartScheduler(t)
	for _, name := range []string{"node-a", "node-b"} {
		makeNode(t, p, name, nil)
	}
	makeNode(t, p, "node-w", map[string]string{"kubernetes.io/os": "windows"})
	installed := make(chan error, 1)
	var said string
	go func() {
		var err error
		said, err = helm(t.Context(), t, p, "install", "oomwitness", "../../runtime-class/chart", "--create-namespace", "--wait", "--timeout", "4m")
		installed <- err
	}()
	report(t, p, "node-a", 0, "")
	if err := patch(t, p.Client, "node-a", `{"metadata":{"labels":{"`+label+`":"true"}}}`); err != nil {
		t.Fatal(err)
	}
	report(t, p, "node-b", 0, "unsupported: this node cannot run the shim: containerd-version: containerd v1.5.2 cannot be served, 1.6 to 2.4 can")
	if err := <-installed; err != nil {
		t.Fatalf("helm install --wait: %v\n%s", err, said)
	}
	if !strings.Contains(said, "oomwitness cluster status --namespace oomwitness --daemonset oomwitness") {
		t.Errorf("the notes do not name the command:\n%s", said)
	}
	out := status(t, p, command(t))
	t.Logf("\n%s", out)
	want := "NODE    STATE        WHY\n" +
		"node-a  ready\n" +
		"node-b  unsupported  this node cannot run the shim: containerd-version: containerd v1.5.2 cannot be served, 1.6 to 2.4 can\n" +
		"node-w  without      daemonSet.nodeSelector asks for kubernetes.io/os=linux\n" +
		"1 of 3 nodes are ready\n"
	if out != want {
		t.Errorf("the command says\n%s\nwant\n%s", out, want)
	}
}

// command builds the node command.
func command(t *testing.T) string {
	t.Helper()
	command := filepath.Join(t.TempDir(), "oomwitness")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", command, "./cmd/oomwitness")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	return command
}

// status is what the command says of the nodes.
func status(t *testing.T, p *controlplane.Plane, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), command, "cluster", "status", "--kubeconfig", p.Kubeconfig).CombinedOutput()
	if err != nil {
		t.Fatalf("cluster status: %v\n%s", err, out)
	}
	return string(out)
}

// TestStartupTaint: an autoscaler makes a node from a template with the label and the taint.
// Pods of the RuntimeClass wait until the taint is removed. The token of that node can remove
// the taint, and change nothing else.
func TestStartupTaint(t *testing.T) {
	p := plane(t)
	p.StartScheduler(t)
	out, err := helm(t.Context(), t, p, "install", "oomwitness", "../../runtime-class/chart", "--create-namespace", "--set", "node.startupTaint="+taint)
	if err != nil {
		t.Fatalf("helm: %v\n%s", err, out)
	}
	makeNode(t, p, "old", nil)
	class := "oomwitness"
	pods := p.Client.CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       corev1.PodSpec{RuntimeClassName: &class, Containers: []corev1.Container{{Name: "app", Image: "registry.invalid/a"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refusal := func(words string) func() bool {
		return func() bool {
			pod, err := pods.Get(t.Context(), "app", metav1.GetOptions{})
			if err != nil || pod.Spec.NodeName != "" || len(pod.Status.Conditions) == 0 {
				return false
			}
			return strings.Contains(pod.Status.Conditions[0].Message, words)
		}
	}
	controlplane.Until(t, "no node has the label", refusal("didn't match Pod's node affinity/selector"))

	hold := corev1.Taint{Key: taint, Effect: corev1.TaintEffectNoSchedule}
	makeNode(t, p, "new", map[string]string{label: "true"}, corev1.Taint{Key: "other", Effect: corev1.TaintEffectPreferNoSchedule}, hold)
	controlplane.Until(t, "the taint holds the pod back", refusal("untolerated taint"))

	as := nodeToken(t, p, "new")
	controlplane.Until(t, "the policy", func() bool {
		return patch(t, as, "new", `{"metadata":{"labels":{"pool":"gold"}}}`, metav1.DryRunAll) != nil
	})
	other := `{"key":"other","effect":"PreferNoSchedule"}`
	for _, c := range []struct{ node, body, why string }{
		{"old", `{"metadata":{"labels":{"` + label + `":"true"}}}`, "may change only the node that its pod is on"},
		{"new", `{"spec":{"taints":[{"key":"` + taint + `","effect":"NoSchedule"}]}}`, "change no other"},
		{"new", `{"spec":{"taints":[]}}`, "change no other"},
		{"new", `{"spec":{"taints":[` + other + `,{"key":"mine","effect":"NoExecute"}]}}`, "change no other"},
		{"new", `{"spec":{"taints":[{"key":"other","effect":"NoExecute"}]}}`, "change no other"},
		{"new", `{"spec":{"unschedulable":true,"taints":[` + other + `]}}`, "nothing of a node but its label and its taint"},
		{"new", `{"spec":{"podCIDR":"10.9.0.0/24","podCIDRs":["10.9.0.0/24"]}}`, "nothing of a node but its label and its taint"},
		{"new", `{"metadata":{"labels":{"pool":"gold"}},"spec":{"taints":[` + other + `]}}`, "may change only the label"},
	} {
		err := patch(t, as, c.node, c.body, metav1.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s of node %s: %v, want a refusal that says %q", c.body, c.node, err, c.why)
		}
	}
	if err := patch(t, as, "new", `{"metadata":{"labels":{"`+label+`":"true"}}}`); err != nil {
		t.Errorf("the label: %v", err)
	}
	if err := patch(t, as, "new", `{"spec":{"taints":[`+other+`]}}`); err != nil {
		t.Errorf("the taint: %v", err)
	}
	controlplane.Until(t, "the pod is on the new node", func() bool {
		pod, err := pods.Get(t.Context(), "app", metav1.GetOptions{})
		return err == nil && pod.Spec.NodeName == "new"
	})
	turns(t, as)
}

// turns: the token may change the Leases of the chart's turns, and no other Lease.
func turns(t *testing.T, as kubernetes.Interface) {
	t.Helper()
	leases := as.CoordinationV1().Leases(namespace)
	lease, err := leases.Get(t.Context(), "oomwitness-turn-4", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := lease.DeepCopy(), lease.DeepCopy()
	name := "new"
	first.Spec.HolderIdentity, second.Spec.HolderIdentity = &name, &name
	if _, err := leases.Update(t.Context(), first, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a turn: %v", err)
	}
	if _, err := leases.Update(t.Context(), second, metav1.UpdateOptions{}); err == nil {
		t.Error("two nodes got one turn")
	}
	if _, err := leases.Get(t.Context(), "oomwitness-turn-5", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("another Lease: %v, want forbidden", err)
	}
}
