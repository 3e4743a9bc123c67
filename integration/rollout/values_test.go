//go:build linux

package rollout

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/controlplane"
)

// TestServerTakesEveryValue: the API server validates every object of the chart with each of
// the chart's values, strictly, as a dry run. Objects of the Prometheus operator are left out:
// this server does not have their types.
func TestServerTakesEveryValue(t *testing.T) {
	p := plane(t)
	for _, name := range []string{namespace, "grafana"} {
		_, err := p.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	render := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", "^TestEveryValueDoesSomething$", "./runtime-class")
	render.Dir, render.Env = "../..", append(os.Environ(), "OOMWITNESS_RENDERED="+dir)
	if out, err := render.CombinedOutput(); err != nil {
		t.Fatalf("render: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) < 80 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	seen := map[string]bool{}
	var objects []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for object := range strings.SplitSeq(string(text), "\n---\n") {
			if !seen[object] && !strings.Contains(object, "\napiVersion: monitoring.coreos.com/v1\n") {
				seen[object] = true
				objects = append(objects, object)
			}
		}
	}
	t.Logf("%d objects that differ, of %d values", len(objects), len(files))
	create := exec.CommandContext(t.Context(), filepath.Join(controlplane.Programs(t), "kubectl"), "--kubeconfig", p.Kubeconfig,
		"create", "--dry-run=server", "--validate=strict", "-f", "-")
	create.Stdin = strings.NewReader(strings.Join(objects, "\n---\n"))
	if out, err := create.CombinedOutput(); err != nil {
		t.Errorf("kubectl: %v\n%s", err, failures(string(out)))
	}
}

// failures returns the lines that do not name an accepted object.
func failures(out string) string {
	var lines []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "(server dry run)") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
