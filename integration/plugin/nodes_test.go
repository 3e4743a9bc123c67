//go:build linux

package plugin

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestNodes: the pod of a StatefulSet has run on two nodes, and was deleted. Then the tests of
// command lines that need a cluster.
func TestNodes(t *testing.T) {
	b := newBench(t)
	other := b.beside(t, "node-b")
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"deleted on two nodes", func(t *testing.T) { deletedOnTwoNodes(t, b, other) }},
		{"top does not reach back", b.topReach}, {"names of pods", b.podNames}, {"YAML", b.yamlDocuments}, {"kubectl completes", b.completed},
		{"on another node again", func(t *testing.T) { onAnotherNode(t, b, other) }},
		{"one agent silent", func(t *testing.T) { oneSilent(t, b, other) }},
	} {
		t.Run(test.name, test.run)
	}
}

// deletedOnTwoNodes: the newest run is the first, on whichever node.
func deletedOnTwoNodes(t *testing.T, b, other *bench) {
	exited := oom.Verdict{Ended: oom.EndedExited, Rule: oom.RuleNothingKnown, Evidence: "ledger", Tier: "A"}
	for pod, newest := range map[string]*bench{"db-0": other, "db-1": b} {
		oldest := b
		if newest == b {
			oldest = other
		}
		oldest.spool(t, pod, "u1", pod+"-1", time.Hour, exited)
		newest.spool(t, pod, "u2", pod+"-2", time.Minute, killed())
		oldest.spool(t, pod, "u3", pod+"-0", 2*time.Hour, exited)
		var out string
		var status int
		require.Eventually(t, func() bool { // the agents read the spool each second
			out, _, status = b.run(t, "why", "shop/"+pod)
			return strings.Contains(out, "  last 24 h    3 runs of this container ended, 1 of them OOMKilled\n")
		}, patience, 100*time.Millisecond, "%s", out)
		t.Logf("\n%s", out)
		require.Equal(t, why.StatusOOM, status)
		require.True(t, strings.HasPrefix(out, "shop/"+pod+"/app: OOMKilled, "), out)
		require.Contains(t, out, " on node "+newest.node+"\n")
		require.Equal(t, 2, strings.Count(out, "exited by itself, status 137 on node "+oldest.node))
		require.Contains(t, out, "note: the pod was deleted")
	}
}

// onAnotherNode: a pod is there, and an earlier pod of its name ran on another node.
func onAnotherNode(t *testing.T, b, other *bench) {
	other.spool(t, "db-2", "u1", "db-2-1", time.Hour, killed())
	b.makePod(t, "db-2", corev1.ContainerStateTerminated{ContainerID: "containerd://db-2-2", ExitCode: 3, Reason: "Error", FinishedAt: metav1.Now()})
	var out string
	require.Eventually(t, func() bool { // the agents read the spool each second
		out, _, _ = b.run(t, "why", "shop/db-2")
		return strings.Contains(out, "OOMKilled, status 137 (SIGKILL) on node "+other.node+"\n")
	}, patience, 100*time.Millisecond, "%s", out)
	require.True(t, strings.HasPrefix(out, "shop/db-2/app: ended with exit status 3, "), out)
	require.Regexp(t, `(?m)^  ended at .* on node `+b.node+`$`, out)
	require.Contains(t, out, "note: runs of an earlier pod with the same name: 1")
	out, _, status := b.run(t, "why", "shop/db-2", "--previous")
	require.Equal(t, why.StatusOOM, status)
	require.True(t, strings.HasPrefix(out, "shop/db-2/app: OOMKilled, "), out)
}

// oneSilent: an answer without an agent's is said to be so.
func oneSilent(t *testing.T, b, other *bench) {
	other.kill()
	out, _, status := b.run(t, "why", "db-1", "-n", "shop")
	require.Equal(t, why.StatusOOM, status)
	require.Contains(t, strings.Join(strings.Fields(out), " "), "note: newer runs may be missing here: 1 of 2 agents did not answer: node-b: ")
	out, _, status = b.run(t, "why", "db-2", "-n", "shop")
	require.Zero(t, status, "the agent on the pod's node has answered")
	require.Contains(t, strings.Join(strings.Fields(out), " "), "note: earlier runs on other nodes may be missing here: 1 of 1 agents did not answer: node-b: ")
	_, errs, status := b.run(t, "why", "nobody", "-n", "shop")
	require.Equal(t, why.StatusNoAgent, status)
	require.Contains(t, errs, "1 of 2 agents did not answer: node-b: ")
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
}

// topReach: the agents of the test have just started.
func (b *bench) topReach(t *testing.T) {
	for _, since := range []string{"1d", "366d"} {
		_, errs, status := b.run(t, "top", "-A", "--since", since)
		require.Zero(t, status, errs)
		require.Contains(t, errs, "node node-a: the counts do not reach back: they are complete since ")
		require.Contains(t, errs, "node node-b: the counts do not reach back: they are complete since ")
	}
	require.EventuallyWithT(t, func(c *assert.CollectT) { // the agents may be younger than a second
		_, errs, _ := b.run(t, "top", "-A", "--since", "1s")
		assert.NotContains(c, errs, "reach back")
	}, 10*time.Second, 100*time.Millisecond)
}

// podNames: the forms of a pod's name mean the same pod.
func (b *bench) podNames(t *testing.T) {
	_, err := b.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "pod"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, args := range [][]string{
		{"shop/db-0"}, {"shop/db-0/app"}, {"pod/db-0", "-n", "shop"}, {"po/db-0", "--namespace", "shop"}, {"db-0", "-n", "shop", "-c", "app"}, {"shop/db-0", "-n", "shop"},
	} {
		out, errs, status := b.run(t, append([]string{"why"}, args...)...)
		require.Equal(t, why.StatusOOM, status, errs)
		require.True(t, strings.HasPrefix(out, "shop/db-0/app: OOMKilled, "), out)
	}
	for want, args := range map[string][]string{
		`pod "db-0" is not in namespace "default"`: {"why", "pod/db-0"},
		`pod "db-0" is not in namespace "pod"`:     {"why", "pod/db-0", "-n", "pod"},
	} {
		_, errs, status := b.run(t, args...)
		require.Equal(t, why.StatusNotFound, status)
		require.Contains(t, errs, want)
	}
}

// yamlDocuments: Events as YAML are documents of one stream.
func (b *bench) yamlDocuments(t *testing.T) {
	events := b.Client.CoreV1().Events("shop")
	add := func(name string) {
		_, err := events.Create(t.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Reason: "OOMKilling", Message: "Killed process " + name, Type: "Warning",
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "db-0"}, LastTimestamp: metav1.Now(),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	add("a")
	add("b")
	cmd, lines := b.begin(t, "events", "-n", "shop", "-w", "-o", "yaml")
	var text strings.Builder
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		switch {
		case strings.HasPrefix(lines.Text(), "message: Killed process b"):
			add("c") // while the command watches
		case strings.HasPrefix(lines.Text(), "type: Warning") && strings.Contains(text.String(), "process c"):
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		}
	}
	require.NoError(t, cmd.Wait())
	documents := strings.Split(text.String(), "\n---\n")
	require.Len(t, documents, 3, text.String())
	for i, document := range documents {
		var e corev1.Event
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &e))
		require.Equal(t, string(rune('a'+i)), e.Name)
	}
}

// completed: the real kubectl completes the plugin's command line.
func (b *bench) completed(t *testing.T) {
	kubectl := filepath.Join(controlplane.Programs(t), "kubectl")
	b.makePod(t, "web-0", corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", FinishedAt: metav1.Now()})
	dir := t.TempDir()
	require.NoError(t, os.Symlink(b.plugin, filepath.Join(dir, "kubectl-oomwitness")))
	complete := func(words ...string) string {
		cmd := exec.CommandContext(t.Context(), kubectl, append([]string{"__complete", "oomwitness"}, words...)...)
		cmd.Env = append(os.Environ(), "PATH="+dir, "KUBECONFIG="+b.Kubeconfig)
		out, _, status := clitest.Output(t, cmd)
		require.Zero(t, status)
		return out
	}
	require.NotContains(t, complete(""), "nodes", "kubectl does not ask the plugin itself")
	require.NoError(t, os.Symlink(filepath.Join(dir, "kubectl-oomwitness"), filepath.Join(dir, "kubectl_complete-oomwitness")))
	require.Contains(t, complete(""), "nodes\tShow the agent and the ledger of each node\n")
	require.Equal(t, "text\nwide\njson\nyaml\n:4\n", complete("nodes", "-o", ""))
	require.Contains(t, complete("why", "-n", "shop", ""), "web-0\n")
}
