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
