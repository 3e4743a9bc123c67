//go:build linux

package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocument: what the document says to type is what the tests here type.
func TestDocument(t *testing.T) {
	tested := []string{importImage, installChart, labelled, setupLog, reasonOfHog, tryExample, upgradeChart, uninstall, drainFirst}
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
				// make runs these tests; the guest's containerd has a log of its own.
				if is && !strings.HasPrefix(command, "make ") && !strings.HasPrefix(command, "journalctl ") {
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

// documentedPod is the one of the document.
func documentedPod(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(payload, "docs/kubernetes.md"))
	require.NoError(t, err)
	pods := blocks(string(text), "yaml")
	require.Len(t, pods, 1)
	return pods[0]
}
