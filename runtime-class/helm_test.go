package runtimeclass

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	release   = "oomwitness"
	namespace = "oomwitness"
)

// helm runs Helm: $HELM, or the one that "make chart" builds.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path := os.Getenv("HELM")
	if path == "" {
		path = filepath.Join("..", ".cache", "bin", "helm")
		if _, err := os.Stat(path); err != nil {
			t.Skip("needs Helm: make chart builds it, and runs this")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "KUBECONFIG=/dev/null")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %v: %w: %s%s", args, err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

// render returns the chart's objects as text, with these values set as JSON.
func render(t *testing.T, values map[string]string) string {
	t.Helper()
	text, err := helm(t, templateArgs(values)...)
	require.NoError(t, err)
	return text
}

func templateArgs(values map[string]string) []string {
	args := []string{"template", release, "chart", "--namespace", namespace}
	for path, value := range values {
		args = append(args, "--set-json", path+"="+value)
	}
	return args
}

// decode reads objects as the API's types, and refuses fields that these do not have.
func decode(t *testing.T, text string) (objects []runtime.Object) {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for reader := yaml.NewDocumentDecoder(readCloser{bytes.NewReader([]byte(text))}); ; {
		document := make([]byte, 1<<20)
		n, err := reader.Read(document)
		if n == 0 {
			return objects
		}
		require.NoError(t, err)
		document = document[:n]
		if json, err := yaml.ToJSON(document); err == nil && string(json) == "null" {
			continue // comments alone
		}
		if bytes.Contains(document, []byte("\napiVersion: monitoring.coreos.com/v1\n")) {
			require.NoError(t, sigsyaml.UnmarshalStrict(document, &monitoring{}), "%s", document)
			continue
		}
		object, _, err := decoder.Decode(document, nil, nil)
		require.NoError(t, err, "%s", document)
		objects = append(objects, object)
	}
}

// monitoring is as much of the Prometheus operator's PodMonitor, ServiceMonitor and
// PrometheusRule as the chart uses.
type monitoring struct {
	APIVersion, Kind string
	Metadata         struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec struct {
		Selector                       struct{ MatchLabels map[string]string }
		PodMetricsEndpoints, Endpoints []struct {
			Port, Interval string
			HonorLabels    bool
			Relabelings    []struct {
				SourceLabels []string
				TargetLabel  string
			}
		}
		Groups []struct {
			Name  string
			Rules []struct {
				Record, Alert, Expr, For string
				Labels, Annotations      map[string]string
			}
		}
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// one returns the only object of its type, with a name if given.
func one[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	var found []T
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}
