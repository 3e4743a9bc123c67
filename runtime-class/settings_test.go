package runtimeclass

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/shim/config"
)

// TestSettingsAreTheShims: what the schema allows, the shim reads as it is meant, and all
// that the shim reads is allowed.
func TestSettingsAreTheShims(t *testing.T) {
	values := map[string]string{"settings": `{"hold_timeout":"2.5s","grace":"1m","report":"live","allow":["grace","oom-group"]}`}
	var file string
	for _, object := range decode(t, render(t, values)) {
		if c, ok := object.(*corev1.ConfigMap); ok {
			file = c.Data["config.toml"]
		}
	}
	got, err := config.Parse([]byte(file))
	require.NoError(t, err, "%s", file)
	require.Empty(t, got.Warnings)
	require.Equal(t, config.ReportLive, got.Report)
	require.Equal(t, []string{"grace", "oom-group"}, got.Allow)
	require.EqualValues(t, 2500, got.HoldTimeout.Milliseconds())
	require.EqualValues(t, 60, got.Grace.Seconds())

	text, err := os.ReadFile("chart/values.schema.json")
	require.NoError(t, err)
	var schema struct {
		Properties struct {
			Settings struct {
				Properties struct {
					Allow struct{ Items struct{ Enum []string } }
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &schema))
	require.ElementsMatch(t, config.Policies(), schema.Properties.Settings.Properties.Allow.Items.Enum)
}
