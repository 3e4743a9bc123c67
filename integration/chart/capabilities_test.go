//go:build linux

package chart

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// command is the one that the chart puts on the node.
const command = "/usr/local/bin/oomwitness"

// TestCapabilities takes each of its capabilities from the init step, which then
// says what it could not do: none is there for nothing.
func TestCapabilities(t *testing.T) {
	images(t)
	install(t)
	var set appsv1.DaemonSet
	require.NoError(t, json.Unmarshal([]byte(kubectl(t, "-n", "oomwitness", "get", "daemonset", "oomwitness", "-o", "json")), &set))
	all := set.Spec.Template.Spec.InitContainers[0].SecurityContext.Capabilities.Add
	unload := func(t *testing.T) { run(t, command, "unload") }
	tests := map[corev1.Capability]struct {
		before func(*testing.T)
		action string
		want   string
	}{
		"SYS_CHROOT": {want: "chroot /host: operation not permitted; it needs CAP_SYS_CHROOT"},
		"SYS_PTRACE": {action: "remove", want: "permission denied; it needs CAP_SYS_PTRACE"},
		"BPF":        {before: unload, want: "note: no ledger: "},
		"PERFMON":    {before: unload, want: "note: no ledger: "},
		// containerd is older than its files then.
		"SYS_ADMIN": {
			before: func(t *testing.T) { run(t, "touch", "/etc/containerd/conf.d/oomwitness.toml") },
			want:   "systemd: restart containerd.service: ",
		},
	}
	for _, capability := range all {
		t.Run(string(capability), func(t *testing.T) {
			if capability == "SYS_RESOURCE" {
				t.Skip("needs a kernel before 5.11, on which the cluster's kubelet does not run")
			}
			test, listed := tests[capability]
			require.True(t, listed, "no test for it")
			if test.before != nil {
				test.before(t)
			}
			left := slices.DeleteFunc(slices.Clone(all), func(c corev1.Capability) bool { return c == capability })
			require.Contains(t, initStep(t, cmp.Or(test.action, "setup"), left), test.want)
		})
	}
}

// initStep runs with other capabilities, and gives its log.
func initStep(t *testing.T, action string, capabilities []corev1.Capability) (log string) {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template/spec/initContainers/0/securityContext/capabilities/add", "value": capabilities},
		{"op": "add", "path": "/spec/template/metadata/annotations/node.oomwitness.io~1action", "value": action},
		{"op": "add", "path": "/spec/template/metadata/annotations/test", "value": t.Name()},
	})
	require.NoError(t, err)
	kubectl(t, "-n", "oomwitness", "patch", "daemonset", "oomwitness", "--type=json", "-p", string(patch))
	require.NoError(t, faultkit.Until(t.Context(), "the init step to end", func() error {
		var pods corev1.PodList
		if err := json.Unmarshal([]byte(kubectl(t, "-n", "oomwitness", "get", "pods", "-l",
			"app.kubernetes.io/component=node", "-o", "json")), &pods); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Annotations["test"] != t.Name() || len(p.Status.InitContainerStatuses) == 0 {
				continue
			}
			status := p.Status.InitContainerStatuses[0]
			if status.State.Terminated != nil || status.LastTerminationState.Terminated != nil {
				log = kubectl(t, "-n", "oomwitness", "logs", p.Name, "-c", "node", fmt.Sprintf("--previous=%t", status.State.Terminated == nil))
				return nil
			}
		}
		return fmt.Errorf("pods %+v", pods.Items)
	}))
	return log
}
