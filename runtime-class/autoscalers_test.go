package runtimeclass

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// startupTaint matches the flag with which a manifest says to install the chart.
var startupTaint = regexp.MustCompile(`--set node\.startupTaint=(\S+)`)

// TestAutoscalers: the manifests have the label that the RuntimeClass asks for, and a taint.
// The chart accepts the taint as the one to remove.
func TestAutoscalers(t *testing.T) {
	read := func(name string, into any) (taint string) {
		text, err := os.ReadFile("autoscalers/" + name)
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, into))
		taint = startupTaint.FindStringSubmatch(string(text))[1]
		rendered := render(t, map[string]string{"node.startupTaint": `"` + taint + `"`})
		require.True(t, hasLine(rendered, "- --startup-taint="+taint))
		require.Contains(t, rendered, "oomwitness may remove the taint "+taint)
		return taint
	}
	var pool struct {
		Spec struct {
			Template struct {
				Metadata struct{ Labels map[string]string }
				Spec     struct {
					StartupTaints []struct{ Key, Effect string }
				}
			}
		}
	}
	taint := read("karpenter.yaml", &pool)
	require.Equal(t, map[string]string{"oomwitness.io/shim": "true"}, pool.Spec.Template.Metadata.Labels)
	require.Equal(t, taint, pool.Spec.Template.Spec.StartupTaints[0].Key)

	var group struct {
		Tags    map[string]string
		Kubelet []string
	}
	taint = read("cluster-autoscaler.yaml", &group)
	const template = "k8s.io/cluster-autoscaler/node-template/"
	require.Equal(t, map[string]string{
		template + "label/oomwitness.io/shim": "true", template + "taint/" + taint: "true:NoSchedule",
	}, group.Tags)
	require.Equal(t, "--node-labels=oomwitness.io/shim=true --register-with-taints="+taint+"=true:NoSchedule", strings.Join(group.Kubelet, " "))
}
