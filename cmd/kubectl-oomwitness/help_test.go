package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestHelp: the help text of each command with exit statuses of its own names them.
func TestHelp(t *testing.T) {
	for args, want := range map[string][]string{
		"":        {"\n  2  a wrong command line\n", "\n  3  no such pod, container or run\n", "\n  4  no agent answered", "\n  5  why: the container was OOM-killed\n"},
		"why":     {"\n  2  a wrong command line\n", "\n  3  no such pod, container or run\n", "\n  4  no agent answered", "\n  5  a container on the page was OOM-killed\n"},
		"nodes":   {"Exit status: 0 if all nodes are ready, 4 if"},
		"version": {"Exit status: 0 if all agents answered, 4 if"},
	} {
		out, errs, status := clitest.Run(t, append(strings.Fields(args), "--help")...)
		require.Zero(t, status)
		require.Empty(t, errs)
		for _, text := range want {
			require.Contains(t, out, text)
		}
	}
}

// TestCompletion: each shell has its script, and a flag's values are completed.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "fish", "powershell", "zsh"} {
		out, _, status := clitest.Run(t, "completion", shell)
		require.Zero(t, status)
		require.Contains(t, out, "oomwitness")
	}
	out, _, status := clitest.Run(t, "__complete", "why", "a", "-o", "")
	require.Zero(t, status)
	require.Equal(t, "text\nwide\njson\nyaml\n:4\n", out)
	for _, args := range [][]string{{"top"}, {"nodes"}, {"top", "--since"}, {"top", "--limit"}} {
		out, _, _ = clitest.Run(t, append(append([]string{"__complete"}, args...), "")...)
		require.Equal(t, ":4\n", out, "%s: no argument is a file", args)
	}
	out, _, _ = clitest.Run(t, "__complete", "")
	for _, command := range []string{"events", "nodes", "top", "version", "why"} {
		require.Contains(t, out, command+"\t")
	}
}

// TestKubectlCompletes: by the name that kubectl looks for, the program completes a command
// line of kubectl, as kubectl gives the words behind the plugin's name.
func TestKubectlCompletes(t *testing.T) {
	for _, name := range []string{"kubectl_complete-oomwitness", "/usr/local/bin/kubectl_complete-oomwitness", "kubectl_complete-oomwitness.exe"} {
		cmd := clitest.Command(t, "why", "a", "-o", "")
		cmd.Args[0] = name
		out, _, status := clitest.Output(t, cmd)
		require.Zero(t, status)
		require.Equal(t, "text\nwide\njson\nyaml\n:4\n", out)
	}
}

// TestVersion: the plugin says its own version without a cluster.
func TestVersion(t *testing.T) {
	out, _, status := clitest.Run(t, "version", "--client", "-o", "json")
	require.Zero(t, status)
	require.JSONEq(t, `{"schema": 1, "plugin": "(devel)"}`, out)
	out, _, status = clitest.Run(t, "version", "--client")
	require.Zero(t, status)
	require.Regexp(t, `(?m)^plugin +\(devel\)`, out)
}

// TestCompletionOfNames: names come from the API server; without an answer nothing is offered, and no
// file.
func TestCompletionOfNames(t *testing.T) {
	address := server(t)
	for want, args := range map[string][]string{
		"web\n:4\n":        {"why", "-n", "shop", ""},
		"setup\napp\n:4\n": {"why", "shop/web", "-c", ""},
		"shop\n:4\n":       {"why", "-n", ""},
		":4\n":             {"why", "shop/none", "-c", ""},
	} {
		args = append([]string{"__complete", "--server", address}, args...)
		out, _, status := clitest.Run(t, args...)
		require.Zero(t, status)
		require.Equal(t, want, out, args)
	}
	for _, args := range [][]string{{"why", ""}, {"why", "a", "-c", ""}, {"why", "-c", ""}, {"why", "A_/", "-c", ""}, {"top", "-n", ""}} {
		out, _, status := clitest.Run(t, append([]string{"__complete", "--server", "http://127.0.0.1:1"}, args...)...)
		require.Zero(t, status)
		require.Equal(t, ":4\n", out, args)
	}
}
