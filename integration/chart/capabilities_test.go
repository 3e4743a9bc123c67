//go:build linux

package chart

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
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
		"BPF":        {before: unload, want: "needs CAP_BPF"},
		"PERFMON":    {before: unload, want: "needs CAP_PERFMON"},
	}
	for _, capability := range all {
		t.Run(string(capability), func(t *testing.T) {
			if capability == "SYS_RESOURCE" {
				t.Skip("needs a kernel before 5.11 and a low RLIMIT_MEMLOCK: TestLockedLimit in bpf has both")
			}
			test, listed := tests[capability]
			require.True(t, listed, "no test for it")
			if test.before != nil {
				test.before(t)
			}
			left := slices.DeleteFunc(slices.Clone(all), func(c corev1.Capability) bool { return c == capability })
			initStep(t, cmp.Or(test.action, "setup"), left, test.want)
		})
	}
}

// initStep runs with other capabilities, and has to say something.
func initStep(t *testing.T, action string, capabilities []corev1.Capability, want string) {
	t.Helper()
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template/spec/initContainers/0/securityContext/capabilities/add", "value": capabilities},
		{"op": "add", "path": "/spec/template/metadata/annotations/node.oomwitness.io~1action", "value": action},
		{"op": "add", "path": "/spec/template/metadata/labels/step", "value": path.Base(t.Name())},
	})
	require.NoError(t, err)
	kubectl(t, "-n", "oomwitness", "patch", "daemonset", "oomwitness", "--type=json", "-p", string(patch))
	require.NoError(t, faultkit.Until(t.Context(), "words of the init step", func() error {
		log, err := try(t, "", "kubectl", "-n", "oomwitness", "logs", "-l", "step="+path.Base(t.Name()), "-c", "node", "--tail=-1")
		if err == nil && !strings.Contains(log, want) {
			err = fmt.Errorf("no %q", want)
		}
		return err
	}))
}
