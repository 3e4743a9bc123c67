package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why/cli/clitest"
)

// TestUnwritableOutput: of each command whose output needs no root, no ledger and no cluster.
func TestUnwritableOutput(t *testing.T) {
	spool, empty := t.TempDir(), t.TempDir()
	require.NoError(t, exits.Append(spool, exits.Exit{
		ID: "abc", Boot: "b", Pid: 1, At: time.Now(), Status: 137, Reported: 137,
		Verdict: oom.Verdict{OOMKilled: true, Ended: oom.EndedOOM, Cause: oom.CauseContainer, Evidence: "ledger", Rule: "1"},
	}))
	why := []string{"why", "abc", "--spool", spool, "--address", "", "--dir", empty}
	rows := [][]string{
		{}, {"help"}, {"help", "why"}, {"trace", "--help"}, {"node"}, {"cluster"}, {"--version"}, {"version"}, {"version", "-o", "json"},
		{"completion", "bash"}, {"completion", "zsh"}, {"completion", "fish"}, {"check", "--root", empty}, {"check", "--root", empty, "-o", "json"},
		{"install", "--dry-run", "--root", empty, "--shim", "/proc/self/exe", "--systemd-cgroup", "true", "--containerd-version", "2.4.2"},
		why, append(why, "-o", "json"), append(why, "-o", "wide"),
	}
	for _, command := range []string{"agent", "check", "cluster status", "install", "load", "node setup", "trace", "uninstall", "unload", "version", "why"} {
		rows = append(rows, append([]string{"help"}, strings.Fields(command)...))
	}
	clitest.Unwritable(t, "oomwitness", rows)
}

// TestCompletion: the values of a flag are completed. No file is offered in the place of an
// argument, a number or a duration.
func TestCompletion(t *testing.T) {
	for args, want := range map[string]string{
		"why -o": "text wide json :4", "load --tier": "auto A B C :4", "install --print": "toml nodeconfig cloud-init :4",
		"install --config-version": "auto 2 3 :4", "install --systemd-unit": "auto true false :4", "install --systemd-cgroup": "auto true false :4",
		"agent --log-level": "debug info warning error :4", "agent --log-format": "auto json text :4", "agent --kubernetes": "auto true false :4",
		"node setup --restart": "systemd none :4", "node setup --unsupported": "fail leave :4",
		"trace": ":4", "why": ":4", "version": ":4", "cluster status": ":4", "agent --series-ttl": ":4", "agent --kube-api-qps": ":4",
		"why --log": ":0", "install --root": ":0",
	} {
		out, _, status := clitest.Run(t, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		require.Zero(t, status)
		require.Equal(t, want, strings.Join(strings.Fields(out), " "), args)
	}
	out, _, _ := clitest.Run(t, "__complete", "")
	require.Contains(t, out, "trace\t")
}
