package runtimeclass

import (
	"context"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
)

const agentName = release + "-agent"

// agentObjects are the chart's with the agent, and of them what the agent has.
func agentObjects(t *testing.T, values map[string]string) (set *appsv1.DaemonSet, role *rbacv1.ClusterRole, all []runtime.Object) {
	t.Helper()
	with := map[string]string{"agent.enabled": "true"}
	for path, value := range values {
		with[path] = value
	}
	all = decode(t, render(t, with))
	for _, object := range all {
		switch o := object.(type) {
		case *appsv1.DaemonSet:
			if o.Name == agentName {
				set = o
			}
		case *rbacv1.ClusterRole:
			if o.Name == namespace+"."+agentName {
				role = o
			}
		}
	}
	require.NotNil(t, set)
	return set, role, all
}

// TestAgentMayLittle: one capability, a root file system that is read-only, and two
// folders of its own to write to.
func TestAgentMayLittle(t *testing.T) {
	set, _, _ := agentObjects(t, nil)
	pod := set.Spec.Template.Spec
	require.False(t, pod.HostPID || pod.HostIPC || pod.HostNetwork || *pod.AutomountServiceAccountToken)
	require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	require.Len(t, pod.Containers, 1)
	c := pod.Containers[0]
	require.False(t, *c.SecurityContext.Privileged || *c.SecurityContext.AllowPrivilegeEscalation)
	require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
	require.Nil(t, c.SecurityContext.AppArmorProfile, "the default one")
	require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
	require.Equal(t, []corev1.Capability{"BPF"}, c.SecurityContext.Capabilities.Add)
	var writable []string
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly {
			writable = append(writable, m.MountPath)
		} else if m.MountPath == "/sys/fs/cgroup" || m.MountPath == "/run/containerd" { // more is mounted below
			require.Equal(t, corev1.RecursiveReadOnlyIfPossible, *m.RecursiveReadOnly)
		}
	}
	require.Equal(t, []string{"/run/oomwitness", "/var/lib/oomwitness"}, writable)
	require.Equal(t, "system-node-critical", pod.PriorityClassName, "and so oom_score_adj -997")
}

// TestAgentExport: without an endpoint there is neither a variable nor a volume for it, and
// with secrets the agent gets their one key each.
func TestAgentExport(t *testing.T) {
	set, _, _ := agentObjects(t, nil)
	require.Contains(t, set.Spec.Template.Spec.Containers[0].Args, "--otlp-endpoint=")
	for _, env := range set.Spec.Template.Spec.Containers[0].Env {
		require.NotContains(t, env.Name, "OTEL_")
	}
	set, _, _ = agentObjects(t, map[string]string{
		"agent.otlp.endpoint": `"https://c"`, "agent.otlp.headersSecret": `"heads"`, "agent.otlp.caSecret": `"trust"`,
	})
	c := set.Spec.Template.Spec.Containers[0]
	var file string
	for _, env := range c.Env {
		switch env.Name {
		case "OTEL_EXPORTER_OTLP_CERTIFICATE":
			file = env.Value
		case "OTEL_EXPORTER_OTLP_HEADERS":
			require.Equal(t, "heads", env.ValueFrom.SecretKeyRef.Name)
		}
	}
	mount := slices.IndexFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "otlp" })
	volume := slices.IndexFunc(set.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "otlp" })
	require.True(t, mount >= 0 && volume >= 0 && c.VolumeMounts[mount].ReadOnly)
	secret := set.Spec.Template.Spec.Volumes[volume].Secret
	require.Equal(t, "trust", secret.SecretName)
	require.Equal(t, file, c.VolumeMounts[mount].MountPath+"/"+secret.Items[0].Path)
}

// TestAgentHasRoom: Go's limit is far enough below the cgroup's.
func TestAgentHasRoom(t *testing.T) {
	set, _, _ := agentObjects(t, nil)
	c := set.Spec.Template.Spec.Containers[0]
	var limit resource.Quantity
	for _, arg := range c.Args {
		if text, ok := strings.CutPrefix(arg, "--memory-limit="); ok {
			limit = resource.MustParse(text)
		}
	}
	require.Positive(t, limit.Value())
	require.Greater(t, c.Resources.Limits.Memory().Value(), 2*limit.Value())
	require.Equal(t, c.Resources.Limits.Memory().Value(), c.Resources.Requests.Memory().Value(), "what it may have is its own")
}

// TestAgentRights: no more than what the values ask for, and no right of the init step.
func TestAgentRights(t *testing.T) {
	core := []string{""}
	pods := func(verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: core, Resources: []string{"pods"}, Verbs: verbs}
	}
	events := rbacv1.PolicyRule{APIGroups: core, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}
	evict := rbacv1.PolicyRule{APIGroups: core, Resources: []string{"pods/eviction"}, Verbs: []string{"create"}}
	for name, c := range map[string]struct {
		values map[string]string
		want   []rbacv1.PolicyRule
	}{
		"observe":    {nil, []rbacv1.PolicyRule{pods("list", "watch"), events}},
		"annotation": {map[string]string{"agent.mark.annotation": `"a/b=c"`}, []rbacv1.PolicyRule{pods("list", "watch", "patch"), events}},
		"label":      {map[string]string{"agent.mark.label": `"a/b=c"`}, []rbacv1.PolicyRule{pods("list", "watch", "patch"), events}},
		"evict":      {map[string]string{"agent.evict": "true"}, []rbacv1.PolicyRule{pods("list", "watch"), events, evict}},
	} {
		_, role, all := agentObjects(t, c.values)
		require.Equal(t, c.want, role.Rules, name)
		for _, object := range all {
			if b, ok := object.(*rbacv1.ClusterRoleBinding); ok && b.RoleRef.Name == role.Name {
				require.Equal(t, []rbacv1.Subject{{Kind: "ServiceAccount", Name: agentName, Namespace: namespace}}, b.Subjects)
			}
		}
	}
	_, role, _ := agentObjects(t, map[string]string{"rbac.create": "false"})
	require.Nil(t, role)
}

// TestAgentFlags has the command check what the chart gives it: what it finds wrong is
// only what is added here.
func TestAgentFlags(t *testing.T) {
	for _, values := range []map[string]string{
		nil,
		{"agent.mark.annotation": `"example.org/a=b"`, "agent.mark.label": `"example.org/l=m"`, "agent.evict": "true", "agent.dryRun": "true"},
		{"agent.healthPort": "0"},
		{"agent.port": "0", "agent.page": "false", "agent.pageAll": "true", "agent.seriesTTL": `"3h"`, "agent.maxSeries": "7"},
		{"agent.api.qps": "2000000", "agent.api.burst": "4000000", "agent.maxSeries": "100000"}, // Helm writes large numbers as 4e+06
		{"agent.api.qps": "2.5", "agent.api.burst": "9", "agent.memoryLimit": `"20971520"`, "agent.logLevel": `"debug"`, "agent.mark.causes": `["sysrq","cpuset"]`},
		{"agent.kubeletCgroupRoots": `["/kubelet/one-two"]`},
	} {
		set, _, _ := agentObjects(t, values)
		c := set.Spec.Template.Spec.Containers[0]
		var ports []string
		for _, port := range c.Ports {
			ports = append(ports, port.Name)
		}
		require.Equal(t, values["agent.port"] == "", slices.Contains(ports, "metrics"))
		if values["agent.healthPort"] != "" {
			require.True(t, c.LivenessProbe == nil && c.ReadinessProbe == nil)
		} else {
			require.Contains(t, ports, "health")
			require.Equal(t, "health", c.LivenessProbe.HTTPGet.Port.String())
			require.Equal(t, "health", c.ReadinessProbe.HTTPGet.Port.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, command(t), append(c.Args, "--lock-dir=relative")...).CombinedOutput()
		require.Error(t, err)
		require.Equal(t, "oomwitness: --lock-dir \"relative\": has to be an absolute path\n", string(out))
	}
}

// TestAgentSharesTheNodes: where the DaemonSet that sets nodes up runs, and how it
// reaches registry, API server and containerd, holds for the agent's too.
func TestAgentSharesTheNodes(t *testing.T) {
	set, _, _ := agentObjects(t, map[string]string{
		"imagePullSecrets": `[{"name":"s3cret"}]`, "hostNetwork": "true", "api.host": `"10.0.0.1"`, "api.port": `"6443"`,
		"daemonSet.nodeSelector": `{"pool":"a"}`, "daemonSet.affinity": `{"nodeAffinity":{}}`, "daemonSet.tolerations": `[{"key":"only"}]`,
		"node.containerdSocket": `"/run/k3s/containerd/c.sock"`, "node.seLinuxOptions": `{"type":"spc_t"}`,
		"image.digest": `"sha256:` + strings.Repeat("a", 64) + `"`, "image.pullPolicy": `"Always"`,
	})
	pod := set.Spec.Template.Spec
	require.Equal(t, []corev1.LocalObjectReference{{Name: "s3cret"}}, pod.ImagePullSecrets)
	require.True(t, pod.HostNetwork)
	require.Equal(t, "a", pod.NodeSelector["pool"])
	require.NotNil(t, pod.Affinity.NodeAffinity)
	require.Equal(t, []corev1.Toleration{{Key: "only"}}, pod.Tolerations)
	c := pod.Containers[0]
	require.Equal(t, "localhost/oomwitness@sha256:"+strings.Repeat("a", 64), c.Image)
	require.Equal(t, corev1.PullAlways, c.ImagePullPolicy)
	require.Equal(t, "spc_t", c.SecurityContext.SELinuxOptions.Type)
	require.Contains(t, c.Env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "10.0.0.1"})
	require.Contains(t, c.Env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: "6443"})
	require.Contains(t, c.Args, "--address=/run/k3s/containerd/c.sock")
	var mounted []string
	for _, m := range c.VolumeMounts {
		mounted = append(mounted, m.MountPath)
	}
	require.Contains(t, mounted, "/run/k3s/containerd")
}

// TestNothingToScrape: a monitor of a port that there is not would stay silent.
func TestNothingToScrape(t *testing.T) {
	for _, part := range []string{"podMonitor", "serviceMonitor", "service"} {
		_, err := helm(t, templateArgs(map[string]string{"agent.enabled": "true", "agent.port": "0", "agent." + part + ".create": "true"})...)
		require.ErrorContains(t, err, "agent."+part+".create: with agent.port 0 there is nothing to scrape")
	}
	_, err := helm(t, templateArgs(map[string]string{"agent.enabled": "true", "agent.podMonitor.create": "true", "agent.serviceMonitor.create": "true"})...)
	require.ErrorContains(t, err, "Prometheus scrapes each agent twice")
}

// TestAgentNetworkPolicy: nobody reaches the agent but who is named, and at the port of
// the metrics alone.
func TestAgentNetworkPolicy(t *testing.T) {
	policy := func(values map[string]string) *networkingv1.NetworkPolicy {
		with := map[string]string{"agent.networkPolicy.create": "true"}
		maps.Copy(with, values)
		set, _, all := agentObjects(t, with)
		for _, object := range all {
			if p, ok := object.(*networkingv1.NetworkPolicy); ok {
				require.Equal(t, set.Spec.Selector.MatchLabels, p.Spec.PodSelector.MatchLabels)
				require.Equal(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, p.Spec.PolicyTypes)
				return p
			}
		}
		require.Fail(t, "no policy")
		return nil
	}
	require.Empty(t, policy(nil).Spec.Ingress, "an empty list of sources would let all in")
	from := map[string]string{"agent.networkPolicy.from": `[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]`}
	rules := policy(from).Spec.Ingress
	require.Len(t, rules, 1)
	require.Equal(t, "monitoring", rules[0].From[0].NamespaceSelector.MatchLabels["name"])
	require.Len(t, rules[0].Ports, 1)
	require.Equal(t, "metrics", rules[0].Ports[0].Port.String())
	from["agent.port"] = "0"
	require.Empty(t, policy(from).Spec.Ingress)
	_, err := helm(t, templateArgs(map[string]string{"agent.enabled": "true", "agent.networkPolicy.create": "true", "hostNetwork": "true"})...)
	require.ErrorContains(t, err, "agent.networkPolicy.create: with hostNetwork no network policy is kept")
}

func TestAgentSelectsItsOwnPods(t *testing.T) {
	_, _, all := agentObjects(t, nil)
	var selectors []map[string]string
	for _, object := range all {
		if set, ok := object.(*appsv1.DaemonSet); ok {
			selectors = append(selectors, set.Spec.Selector.MatchLabels)
			for name, value := range set.Spec.Selector.MatchLabels {
				require.Equal(t, value, set.Spec.Template.Labels[name])
			}
		}
	}
	require.Len(t, selectors, 2)
	require.NotEqual(t, selectors[0]["app.kubernetes.io/component"], selectors[1]["app.kubernetes.io/component"])
}
