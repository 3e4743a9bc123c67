package runtimeclass

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// combinations are those in which values meet.
var combinations = map[string]map[string]string{
	"default":        {},
	"restart none":   {"node.restart": `"none"`},
	"drain":          {"uninstall.drain": "true"},
	"only the node":  {"uninstall.enabled": "false", "runtimeClass.create": "false", "rbac.create": "false", "serviceAccount.create": "false"},
	"own account":    {"serviceAccount.create": "false", "serviceAccount.name": `"mine"`},
	"settings":       {"settings": `{"report":"live"}`},
	"no rbac":        {"rbac.create": "false", "admissionPolicy.create": "false", "uninstall.drain": "true"},
	"no proxy":       {"hostNetwork": "true", "api.host": `"10.0.0.1"`, "api.port": `"6443"`},
	"everything set": {"imagePullSecrets": `[{"name":"a"}]`, "daemonSet.affinity": `{"nodeAffinity":{}}`, "node.seLinuxOptions": `{"type":"spc_t"}`, "runtimeClass.tolerations": `[{"operator":"Exists"}]`, "uninstall.tolerations": `[{"operator":"Exists"}]`, "runtimeClass.overhead": `{}`},
}

func TestCombinations(t *testing.T) {
	for name, values := range combinations {
		t.Run(name, func(t *testing.T) {
			objects := decode(t, render(t, values))
			set := one[*appsv1.DaemonSet](t, objects)
			requireHarmless(t, set.Spec.Template.Spec)
			if values["uninstall.enabled"] == "" {
				requireHarmless(t, one[*batchv1.Job](t, objects).Spec.Template.Spec)
			}
			if values["serviceAccount.name"] != "" {
				require.Equal(t, "mine", set.Spec.Template.Spec.ServiceAccountName)
			}
			flags := set.Spec.Template.Spec.InitContainers[0].Args[2:]
			require.Equal(t, values["settings"] != "", slices.Contains(flags, "--settings=/settings/config.toml"))
			flags = slices.DeleteFunc(slices.Clone(flags), func(flag string) bool {
				return strings.HasPrefix(flag, "--settings=") || strings.HasPrefix(flag, "--message-file=") // files of the pod alone
			})
			requireFlags(t, append([]string{"node", "setup"}, flags...))
			requireFlags(t, append([]string{"node", "remove"}, flags...))
			evictions := strings.Contains(render(t, values), "pods/eviction")
			require.Equal(t, values["uninstall.drain"] == "true" && values["rbac.create"] == "", evictions)
		})
	}
}

// requireHarmless allows the init step, and nothing else, more than nothing.
func requireHarmless(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	require.False(t, pod.HostPID || pod.HostIPC)
	require.False(t, *pod.AutomountServiceAccountToken)
	require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type)
	for _, c := range append(pod.InitContainers, pod.Containers...) {
		security := c.SecurityContext
		require.False(t, *security.AllowPrivilegeEscalation)
		require.True(t, *security.ReadOnlyRootFilesystem)
		require.Equal(t, []corev1.Capability{"ALL"}, security.Capabilities.Drop)
		require.NotEmpty(t, c.Resources.Limits.Memory().Value())
		if c.Name == "node" {
			want := []corev1.Capability{"SYS_CHROOT", "SYS_PTRACE", "BPF", "PERFMON", "SYS_RESOURCE"}
			require.Equal(t, want, security.Capabilities.Add)
			require.False(t, *security.Privileged)
			continue
		}
		require.True(t, *security.RunAsNonRoot)
		require.Empty(t, security.Capabilities.Add)
		if c.Name == "stay" {
			require.Empty(t, c.VolumeMounts, "neither the host nor a token")
		}
	}
}

// requireFlags has the command parse what the chart gives it, up to where it would
// talk to a cluster.
func requireFlags(t *testing.T, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command(t), append(args, "--kubeconfig=/nowhere", "--node=a")...)
	if args[0] == "cluster" {
		cmd.Args = cmd.Args[:len(cmd.Args)-1]
	}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `--kubeconfig "/nowhere": no such file or directory`, "%v", args)
}

var built string

// command builds the command, once.
func command(t *testing.T) string {
	t.Helper()
	if built == "" {
		dir, err := os.MkdirTemp("", "oomwitness-")
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "../cmd/oomwitness").CombinedOutput()
		require.NoError(t, err, "%s", out)
		built = filepath.Join(dir, "oomwitness")
	}
	return built
}

func TestMain(m *testing.M) {
	status := m.Run()
	if built != "" {
		_ = os.RemoveAll(filepath.Dir(built))
	}
	os.Exit(status)
}

func TestUninstallFlags(t *testing.T) {
	job := one[*batchv1.Job](t, decode(t, render(t, nil)))
	requireFlags(t, job.Spec.Template.Spec.Containers[0].Args)
	require.Zero(t, *job.Spec.BackoffLimit, "a refusal is final")
}

// TestRights: what stays in the cluster may label nodes, and nothing else.
func TestRights(t *testing.T) {
	var standing []rbacv1.PolicyRule
	for _, object := range decode(t, render(t, map[string]string{"uninstall.drain": "true"})) {
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			if o.Annotations["helm.sh/hook"] == "" {
				standing = append(standing, o.Rules...)
			}
		case *rbacv1.Role:
			if o.Annotations["helm.sh/hook"] == "" {
				require.Equal(t, []string{"coordination.k8s.io"}, o.Rules[0].APIGroups, "the turns, and nothing else")
				require.Equal(t, []string{"get", "update"}, o.Rules[0].Verbs)
				require.Len(t, o.Rules[0].ResourceNames, 5)
				continue
			}
			require.Equal(t, "pre-delete", o.Annotations["helm.sh/hook"])
			require.Equal(t, []string{release}, o.Rules[0].ResourceNames)
		}
	}
	require.Equal(t, []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"patch"}}}, standing)
}

// TestRuntimeClassIsTheCharts: the manifest beside the chart is the same.
func TestRuntimeClassIsTheCharts(t *testing.T) {
	alone := one[*nodev1.RuntimeClass](t, decodeFile(t, "runtimeclass.yaml"))
	chart := one[*nodev1.RuntimeClass](t, decode(t, render(t, nil)))
	chart.Labels = nil
	require.Equal(t, chart, alone)
}

func decodeFile(t *testing.T, name string) []runtime.Object {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return decode(t, string(text))
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 5)
	for _, file := range files {
		require.Len(t, decodeFile(t, file), 1, file)
	}
	job := one[*batchv1.Job](t, decodeFile(t, "examples/job.yaml"))
	code := job.Spec.PodFailurePolicy.Rules[0].OnExitCodes.Values
	require.Equal(t, []int32{217}, code)
	require.Equal(t, "217", job.Spec.Template.Annotations["oomwitness.io/oom-exit-code"])
}
