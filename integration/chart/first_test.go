//go:build linux

package chart

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// mostCommands is how many commands lead a new user from nothing to the first answer.
const mostCommands = 10

// step is a command of a page, with the output that the page shows.
type step struct {
	command string
	shown   []string
}

// newUser returns what the README has a new user of a cluster type, as it stands there: the
// console blocks from "On a cluster" to the end of "Read the result".
func newUser(t *testing.T) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(payload, "README.md"))
	if os.IsNotExist(err) {
		text, err = os.ReadFile("../../README.md") // outside of the guest
	}
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "\n**On a cluster**")
	require.True(t, found)
	rest, _, found = strings.Cut(rest, "\n## Documentation")
	require.True(t, found)
	for _, block := range blocks(rest, "console") {
		for line := range strings.Lines(block) {
			line = strings.TrimRight(line, "\n")
			if prompt, command, ok := strings.Cut(line, " "); ok && (prompt == "$" || prompt == "#") {
				steps = append(steps, step{command: command})
			} else if len(steps) > 0 {
				last := &steps[len(steps)-1]
				last.shown = append(last.shown, line)
			}
		}
	}
	return steps
}

// TestNewUser: the README has at most ten commands, which end with the answer. Those before
// the first of the cluster are make's.
func TestNewUser(t *testing.T) {
	steps := newUser(t)
	require.LessOrEqual(t, len(steps), mostCommands)
	var programs []string
	for _, s := range steps {
		name, _, _ := strings.Cut(s.command, " ")
		programs = append(programs, name)
	}
	require.Equal(t, []string{"make", "ctr", "helm", "kubectl", "kubectl", "install", "kubectl"}, programs)
	last := steps[len(steps)-1]
	require.Equal(t, "kubectl oomwitness why hog", last.command)
	require.NotEmpty(t, last.shown)
	require.Equal(t, importImage, steps[1].command, "the other tests type the same")
	require.Equal(t, applyHog, steps[3].command)
}

// TestFirstAnswer types the README's commands on the cluster, one after the other, as a new
// user does. The last one names the process, the limit and what filled the memory. make has
// run outside of the guest. Helm gets flags for a cluster without kube-proxy.
func TestFirstAnswer(t *testing.T) {
	withoutRegistry(t)
	require.NoError(t, os.RemoveAll(stateDir)) // a new node: no run of another test's hog
	t.Cleanup(func() {
		logs(t)
		_, _ = try(t, "", "kubectl", "-n", namespace, "logs", "daemonset/"+agentName, "--tail=30")
		_, _ = try(t, example(t, hogExample), "kubectl", "delete", "--ignore-not-found", "--grace-period=1", "-f", "-")
		_, _ = helm(t, "uninstall", "oomwitness", "-n", namespace, "--ignore-not-found", "--no-hooks")
		_, _ = try(t, "", command, "uninstall", "--unload", "--force", "--restart-containerd")
		_, _ = try(t, "", "systemctl", "daemon-reload")
		_, _ = try(t, "", "kubectl", "label", "node", node, label+"-")
		_ = os.Remove("/usr/local/bin/kubectl-oomwitness")
		_ = os.RemoveAll(stateDir)
	})
	began := time.Now()
	steps := newUser(t)
	for i, s := range steps[:len(steps)-1] {
		var more []string
		switch name, _, _ := strings.Cut(s.command, " "); name {
		case "make":
			continue
		case "helm":
			more = values()
		}
		start := time.Now()
		_, err := typed(t, s.command, more...)
		require.NoError(t, err)
		t.Logf("first answer step=%d seconds=%.1f command=%q", i+1, time.Since(start).Seconds(), s.command)
	}
	last := steps[len(steps)-1]
	out, err := typed(t, last.command)
	t.Logf("first answer commands=%d seconds=%.1f", len(steps), time.Since(began).Seconds())
	var ended *exec.ExitError
	require.True(t, errors.As(err, &ended), "%v", err)
	require.Equal(t, why.StatusOOM, ended.ExitCode(), out)
	answers(t, last, out)
	require.FileExists(t, "/usr/local/bin/kubectl-oomwitness")
}

// answers: the output has each line that the page shows, but for times and sizes that
// differ from run to run.
func answers(t *testing.T, s step, out string) {
	t.Helper()
	require.Regexp(t, `^default/hog/main: OOMKilled, \d+[sm] ago\n`, out)
	require.Regexp(t, `(?m)^  ended by +the OOM killer: the container's own memory limit of 32\.0Mi$`, out)
	require.Regexp(t, `(?m)^  victim +tail, the container's init$`, out)
	require.Regexp(t, `(?m)^  filled by +#+\.* +\d+% +[0-9.]+Mi  anonymous$`, out)
	require.Regexp(t, `(?m)^  largest +tail [0-9.]+Mi`, out)
	require.Regexp(t, `(?m)^  memory +limit 32\.0Mi, `, out)
	require.Regexp(t, `(?m)^  what to do +\S`, out)
	require.NotContains(t, out, "note:")
	labels := labelsOf(strings.Split(out, "\n"))
	for _, label := range labelsOf(s.shown) {
		require.True(t, slices.Contains(labels, label), "the page shows a line %q", label)
	}
}

// labelsOf returns the first words of a page's lines.
func labelsOf(lines []string) (labels []string) {
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "  "); ok && text != "" && text[0] != ' ' {
			label, _, _ := strings.Cut(text, "  ")
			labels = append(labels, label)
		}
	}
	return labels
}
