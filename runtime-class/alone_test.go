package runtimeclass

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestAgentAlone: without the shim the chart has ledger and agent, and of the host sees
// the BPF file system and its own lock alone.
func TestAgentAlone(t *testing.T) {
	values := map[string]string{"shim.enabled": "false"}
	objects := decode(t, render(t, values))
	sets := map[string]*appsv1.DaemonSet{}
	for _, object := range objects {
		switch o := object.(type) {
		case *appsv1.DaemonSet:
			sets[o.Name] = o
		case *nodev1.RuntimeClass, *corev1.ConfigMap:
			require.Fail(t, "of the shim", "%T", o)
		case *rbacv1.ClusterRole:
			for _, rule := range o.Rules {
				require.NotContains(t, rule.Verbs, "update")
				require.False(t, rule.Resources[0] == "nodes" && rule.Verbs[0] == "patch", "nobody labels nodes")
			}
		}
	}
	require.Len(t, sets, 2)
	pod := sets[release].Spec.Template.Spec
	require.False(t, pod.HostPID || pod.HostNetwork || *pod.AutomountServiceAccountToken)
	node := pod.InitContainers[0]
	require.Equal(t, []string{"node", "ledger", "$(ACTION)"}, node.Args)
	require.Equal(t, []corev1.Capability{"BPF", "PERFMON", "SYS_RESOURCE"}, node.SecurityContext.Capabilities.Add)
	var mounts []string
	for _, m := range node.VolumeMounts {
		mounts = append(mounts, m.MountPath)
	}
	require.Equal(t, []string{"/sys/fs/bpf", "/run/oomwitness"}, mounts)

	agent := sets[agentName].Spec.Template.Spec.Containers[0]
	require.Contains(t, agent.Args, "--address=", "names come from the API server, whatever the runtime is")
	for _, volume := range sets[agentName].Spec.Template.Spec.Volumes {
		require.NotEqual(t, "containerd", volume.Name)
	}

	job := one[*batchv1.Job](t, objects)
	requireFlags(t, job.Spec.Template.Spec.Containers[0].Args)
	require.Contains(t, job.Spec.Template.Spec.Containers[0].Args, "--runtime-name=")
	values["uninstall.unloadLedger"] = "false"
	for _, object := range decode(t, render(t, values)) {
		_, isJob := object.(*batchv1.Job)
		require.False(t, isJob, "nothing is left to do on the nodes")
	}
}

// TestLedgerCommands: both actions of the pods without the shim are there.
func TestLedgerCommands(t *testing.T) {
	for _, action := range []string{"setup", "remove"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, command(t), "node", "ledger", action, "--help").CombinedOutput()
		require.NoError(t, err)
		require.Contains(t, string(out), "oomwitness node ledger "+action)
	}
}

// TestSharedWritableFolders: what is below another folder is not mounted twice, and a
// distribution's folders are mounted as its values ask.
func TestSharedWritableFolders(t *testing.T) {
	mounted := func(values map[string]string) (paths []string) {
		set := one[*appsv1.DaemonSet](t, decode(t, render(t, values)))
		hosts := map[string]string{}
		for _, v := range set.Spec.Template.Spec.Volumes {
			if v.HostPath != nil {
				hosts[v.Name] = v.HostPath.Path
			}
		}
		for _, m := range set.Spec.Template.Spec.InitContainers[0].VolumeMounts {
			if path, ok := hosts[m.Name]; ok && !m.ReadOnly {
				require.Equal(t, "/host"+path, m.MountPath)
				paths = append(paths, path)
			}
		}
		return paths
	}
	require.Equal(t, []string{"/etc", "/usr/local/bin"}, mounted(nil))
	const k3s = "/var/lib/rancher/k3s/agent/etc/containerd"
	require.Equal(t, []string{"/etc", "/usr/local/bin", k3s + "/config-v3.toml.d"}, mounted(map[string]string{
		"node.confDir": `"` + k3s + `/config-v3.toml.d"`, "node.containerdConfig": `"` + k3s + `/config.toml"`,
		"node.containerdSocket": `"/run/k3s/containerd/containerd.sock"`,
	}))
	require.Equal(t, []string{"/etc", "/var/snap/microk8s/current/args", "/opt"}, mounted(map[string]string{
		"node.binDir": `"/opt/bin"`, "node.writable": `["/opt", "/etc/x"]`, "node.editConfig": "true",
		"node.containerdConfig": `"/var/snap/microk8s/current/args/containerd-template.toml"`,
	}))
}
