//go:build linux

package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocument: what the document says to type is what the tests here type.
func TestDocument(t *testing.T) {
	tested := []string{importImage, installChart, labelled, setupLog, reasonOfHog, tryExample, upgradeChart, rollbackTo, uninstall, drainFirst}
	slices.Sort(tested)
	require.Equal(t, tested, commands(t, "kubernetes.md", "$ ", "# "))
}

// TestDocumentOfAgent is the same for the agent's, but for what is typed as root on
// a node without Kubernetes.
func TestDocumentOfAgent(t *testing.T) {
	require.Equal(t, []string{enableAgent, agentRollout}, commands(t, "agent.md", "$ "))
}

// commands are those that a document says to type behind these prompts, in order
// and each once.
func commands(t *testing.T, document string, prompts ...string) (typed []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", document))
	if os.IsNotExist(err) {
		t.Skip("needs the source tree: in the guest there is none")
	}
	require.NoError(t, err)
	for _, block := range blocks(string(text), "console") {
		for line := range strings.Lines(block) {
			for _, prompt := range prompts {
				command, is := strings.CutPrefix(strings.TrimSpace(line), prompt)
				command, _, _ = strings.Cut(command, "  ") // a remark
				// make runs these tests; the guest's containerd has a log of its own; bin/ is for a
				// node without Kubernetes.
				if is && !regexp.MustCompile("^(make |journalctl |bin/)").MatchString(command) {
					typed = append(typed, command)
				}
			}
		}
	}
	slices.Sort(typed)
	return slices.Compact(typed)
}

// blocks are the fenced ones of a language.
func blocks(text, language string) (found []string) {
	for _, after := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		found = append(found, block)
	}
	return found
}

// TestDocumentedPod: the page shows the example that the tests run.
func TestDocumentedPod(t *testing.T) {
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if os.IsNotExist(err) {
		t.Skip("needs the source tree: in the guest there is none")
	}
	require.NoError(t, err)
	example, err := os.ReadFile("../../runtime-class/examples/" + hogExample)
	require.NoError(t, err)
	shown := blocks(string(page), "yaml")
	require.Len(t, shown, 1)
	_, object, _ := strings.Cut(string(example), "apiVersion")
	require.Equal(t, "apiVersion"+object, shown[0])
}
