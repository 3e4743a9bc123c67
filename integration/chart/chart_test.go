//go:build linux

package chart

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestServerTakesIt has the API server judge every object of the chart, changing
// nothing.
func TestServerTakesIt(t *testing.T) {
	images(t)
	applied(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: trial}\n")
	for _, set := range [][]string{
		{}, {"node.restart=none"}, {"uninstall.drain=true"}, {"rbac.create=false", "admissionPolicy.create=false"},
		{"uninstall.enabled=false", "runtimeClass.create=false", "serviceAccount.create=false"},
		{"node.seLinuxOptions.type=spc_t", "imagePullSecrets[0].name=a", "runtimeClass.tolerations[0].operator=Exists"},
	} {
		args := append([]string{"template", "oomwitness", chart, "-n", "trial"}, values(set...)...)
		objects, err := helm(t, args...)
		require.NoError(t, err)
		_, err = try(t, objects, "kubectl", "create", "--dry-run=server", "--validate=strict", "-f", "-")
		require.NoError(t, err)
	}
	for _, name := range []string{"job.yaml", "workers.yaml", "strict.yaml", "pod-limit.yaml"} {
		applied(t, strings.ReplaceAll(class, "NAME", "oomwitness"))
		_, err := try(t, example(t, name), "kubectl", "create", "--dry-run=server", "--validate=strict", "-f", "-")
		require.NoError(t, err)
	}
}

const class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: NAME}\nhandler: oomwitness\n"

// TestLife is the chart's: installed, used, upgraded, rolled back, refused its uninstall, and
// taken off.
func TestLife(t *testing.T) {
	images(t)
	applied(t, sleeper("stock", ""))
	kubectl(t, "wait", "--for=condition=Ready", "pod/stock", "--timeout=3m")
	before, daemon := state(t), containerd(t)

	install(t)
	nodes, err := typed(t, labelled)
	require.NoError(t, err)
	require.Contains(t, nodes, node)
	require.NotEqual(t, daemon, containerd(t), "restarted")
	// kubelet asks containerd every few seconds, and writes its Node every ten.
	require.NoError(t, faultkit.Until(t.Context(), "kubelet to know the handler", func() error {
		if names := kubectl(t, "get", "node", node, "-o", "jsonpath={.status.runtimeHandlers[*].name}"); !strings.Contains(names, "oomwitness") {
			return fmt.Errorf("the node's handlers are %q", names)
		}
		return nil
	}))
	log, err := typed(t, setupLog)
	require.NoError(t, err)
	require.Contains(t, log, "it is this node's turn: lease oomwitness/oomwitness-turn-")
	require.Contains(t, run(t, command, "cluster", "status", "--kubeconfig", os.Getenv("KUBECONFIG")), "1 of 1 nodes are ready")
	run(t, "/usr/local/bin/oomwitness", "check")
	require.Contains(t, "\n"+run(t, "cat", "/etc/oomwitness/config.toml"), "\ngrace = \"4s\"\n")
	require.Contains(t, run(t, "/usr/local/bin/oomwitness", "load"), "the ledger is loaded already")
	require.Equal(t, "enabled\n", run(t, "systemctl", "is-enabled", "oomwitness-ledger.service"))

	oomKilled(t)
	applied(t, sleeper("sleeper", "oomwitness"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=3m")
	upgrade(t)
	rollback(t)
	refused(t, before)

	kubectl(t, "delete", "pod", "sleeper", "--grace-period=1")
	_, err = typed(t, uninstall)
	require.NoError(t, err)
	require.Equal(t, before, state(t), "the node is not what it was")
	require.Zero(t, pod(t, "stock").Status.ContainerStatuses[0].RestartCount)
	require.Empty(t, strings.TrimSpace(kubectl(t, "get", "clusterroles,clusterrolebindings,validatingadmissionpolicies,runtimeclasses",
		"-l", "app.kubernetes.io/name=oomwitness", "-o", "name")))
}

func install(t *testing.T, more ...string) {
	t.Helper()
	_, err := typed(t, installChart, values(more...)...)
	logs(t)
	require.NoError(t, err)
	t.Cleanup(func() {
		logs(t)
		_, _ = helm(t, "uninstall", "oomwitness", "-n", "oomwitness", "--ignore-not-found", "--no-hooks")
		_, _ = try(t, "", "/usr/local/bin/oomwitness", "uninstall", "--unload", "--force", "--restart-containerd")
		// The rest of what the hooks do: the next test begins with a node as it was.
		_, _ = try(t, "", "systemctl", "daemon-reload")
		_, _ = try(t, "", "kubectl", "label", "node", node, label+"-")
	})
}

func logs(t *testing.T) {
	t.Helper()
	_, _ = typed(t, setupLog)
	_, _ = try(t, "", "kubectl", "-n", "oomwitness", "get", "pods", "-o", "wide")
}

// oomKilled: a pod under the class says so.
func oomKilled(t *testing.T) {
	t.Helper()
	_, err := typed(t, applyHog)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = try(t, example(t, hogExample), "kubectl", "delete", "--ignore-not-found", "--grace-period=1", "-f", "-")
	})
	kubectl(t, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/hog", "--timeout=3m")
	reason, err := typed(t, reasonOfHog)
	require.NoError(t, err)
	require.Equal(t, "OOMKilled", reason)
	p := pod(t, "hog")
	end := p.Status.ContainerStatuses[0].State.Terminated
	require.EqualValues(t, 137, end.ExitCode)
	_, id, _ := strings.Cut(p.Status.ContainerStatuses[0].ContainerID, "://")
	require.Regexp(t, "msg=verdict .*cause=container .*container="+id, run(t, "cat", faultkit.ContainerdLog))
	require.Equal(t, "10Mi", p.Spec.Overhead.Memory().String())
	require.Equal(t, map[string]string{label: "true"}, p.Spec.NodeSelector)
}

// upgrade: new pods of the DaemonSet, and nothing changes on the node.
func upgrade(t *testing.T) {
	t.Helper()
	files, daemon := state(t), containerd(t)
	_, err := typed(t, upgradeChart, values("daemonSet.podAnnotations.new=yes")...)
	require.NoError(t, err)
	require.Equal(t, files, state(t))
	require.Equal(t, daemon, containerd(t), "not restarted")
}

// rollback: the pods of the first revision, and nothing changes on the node.
func rollback(t *testing.T) {
	t.Helper()
	files, daemon := state(t), containerd(t)
	_, err := typed(t, rollbackTo)
	require.NoError(t, err)
	require.Empty(t, kubectl(t, "-n", "oomwitness", "get", "daemonset", "oomwitness", "-o", "jsonpath={.spec.template.metadata.annotations.new}"))
	require.Equal(t, files, state(t))
	require.Equal(t, daemon, containerd(t), "not restarted")
	require.Equal(t, corev1.PodRunning, pod(t, "sleeper").Status.Phase)
}

// refused names the pod, and leaves the node with the shim.
func refused(t *testing.T, before string) {
	t.Helper()
	files := state(t)
	require.NotEqual(t, before, files)
	out, err := typed(t, uninstall)
	require.Error(t, err)
	require.Contains(t, out, "default/sleeper on node", "Helm prints the hook's log")
	require.Contains(t, kubectl(t, "-n", "oomwitness", "logs", "job/oomwitness-uninstall"), "1 pods run under the handler")
	require.Equal(t, files, state(t))
	require.Equal(t, corev1.PodRunning, pod(t, "sleeper").Status.Phase)
	require.Contains(t, kubectl(t, "-n", "oomwitness", "get", "daemonset", "oomwitness", "-o",
		`jsonpath={.spec.template.metadata.annotations.node\.oomwitness\.io/action}`), "setup")
}

// TestExamples runs them as they are.
func TestExamples(t *testing.T) {
	images(t)
	install(t)
	for _, name := range []string{"job", "workers", "strict", "pod-limit"} {
		_, err := typed(t, strings.Replace(tryExample, "NAME", name, 1))
		require.NoError(t, err)
		t.Cleanup(func() {
			_, _ = try(t, example(t, name+".yaml"), "kubectl", "delete", "--grace-period=1", "-f", "-")
		})
	}
	kubectl(t, "wait", "--for=condition=Failed", "job/report", "--timeout=3m")
	require.Contains(t, kubectl(t, "get", "job", "report", "-o", `jsonpath={.status.conditions[?(@.type=="Failed")].message}`),
		"exit code 217")
	require.Contains(t, kubectl(t, "get", "job", "report", "-o", "jsonpath={.status.failed}"), "1", "no retry")

	kubectl(t, "wait", "--for=jsonpath={.status.containerStatuses[0].lastState.terminated.reason}=OOMKilled", "pod/strict", "--timeout=3m")

	kubectl(t, "wait", "--for=jsonpath={.status.phase}=Failed", "pod/pod-limit", "--timeout=3m")
	ends, ids := map[string]string{}, map[string]string{}
	for _, status := range pod(t, "pod-limit").Status.ContainerStatuses {
		ends[status.Name] = status.State.Terminated.Reason
		_, ids[status.Name], _ = strings.Cut(status.ContainerID, "://")
	}
	require.Equal(t, map[string]string{"hog": "OOMKilled", "holder": "Completed"}, ends)
	require.Regexp(t, "msg=verdict .*cause=pod .*container="+ids["hog"], run(t, "grep", "msg=verdict", faultkit.ContainerdLog))

	workers := func() string { return kubectl(t, "logs", "workers") }
	require.Eventually(t, func() bool { return strings.Contains(workers(), "worker 4 ended with 137") }, patience, time.Second)
	after := strings.Count(workers(), "works")
	require.Eventually(t, func() bool { return strings.Count(workers(), "works") >= after+3 }, patience, time.Second, "the others go on")
	require.Zero(t, pod(t, "workers").Status.ContainerStatuses[0].RestartCount)
}

// TestDrain: with uninstall.drain the uninstall evicts the pods.
func TestDrain(t *testing.T) {
	images(t)
	before := state(t)
	install(t)
	applied(t, sleeper("sleeper", "oomwitness"))
	kubectl(t, "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=3m")
	_, err := typed(t, drainFirst)
	require.NoError(t, err)
	_, err = typed(t, uninstall)
	require.NoError(t, err)
	require.Equal(t, before, state(t))
	require.Empty(t, strings.TrimSpace(kubectl(t, "get", "pod", "sleeper", "--ignore-not-found")))
}

// TestAdmission: the service account may change one label of its own node.
func TestAdmission(t *testing.T) {
	images(t)
	install(t)
	for name, test := range map[string]struct{ on, labels, refusal string }{
		"no node":       {"", `{"oomwitness.io/shim": null}`, "may change only the node that its pod is on, not node"},
		"another node":  {"other", `{"oomwitness.io/shim": null}`, "may change only the node that its pod is on, not node"},
		"another label": {node, `{"pool": "gold"}`, "may change only the label oomwitness.io/shim"},
		"one removed":   {node, `{"kubernetes.io/os": null}`, "may change only the label oomwitness.io/shim"},
		"its label":     {node, `{"oomwitness.io/shim": "true"}`, ""},
		"taken":         {node, `{"oomwitness.io/shim": null}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
			require.NoError(t, err)
			config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:oomwitness:oomwitness"}
			if test.on != "" {
				config.Impersonate.Extra = map[string][]string{"authentication.kubernetes.io/node-name": {test.on}}
			}
			client, err := corev1client.NewForConfig(config)
			require.NoError(t, err)
			_, err = client.Nodes().Patch(t.Context(), node, types.MergePatchType,
				[]byte(`{"metadata": {"labels": `+test.labels+`}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			if test.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.refusal)
		})
	}
}
