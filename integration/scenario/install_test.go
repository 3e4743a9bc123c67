//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const oomwitness = "/opt/oomwitness/bin/oomwitness"

// commandTime bounds one command: containerd's start takes long on a busy machine.
const commandTime = 3 * time.Minute

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	// Also in a cleanup, when the test's context is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// dump returns the configuration that containerd would run with. Its log carries
// times and goes elsewhere.
func dump(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "containerd", "config", "dump").Output()
	require.NoError(t, err)
	return string(out)
}

// TestInstall puts the handler into a real containerd and takes it out again.
// The node's own configuration, the runc handler in it included, stays as it
// was: a drop-in merges.
func TestInstall(t *testing.T) {
	runner(t)
	const dropin = "/etc/containerd/conf.d/oomwitness.toml"
	bin := t.TempDir()
	before, err := os.ReadFile("/etc/containerd/config.toml")
	require.NoError(t, err)
	dumped := dump(t)
	require.NotContains(t, dumped, "runtimes.oomwitness")
	install := []string{"install", "--bin-dir", bin, "--shim", "/opt/oomwitness/bin/containerd-shim-oomwitness-v2"}

	require.Contains(t, output(t, oomwitness, append(install, "--dry-run")...), "(dry run)")
	require.NoFileExists(t, dropin)

	require.Contains(t, output(t, oomwitness, install...), "create")
	t.Cleanup(func() { _ = os.Remove(dropin) })
	with := dump(t)
	require.Contains(t, with, "runtimes.oomwitness]")
	require.Contains(t, with, "runtime_path = '"+filepath.Join(bin, "containerd-shim-oomwitness-v2")+"'")
	for _, line := range []string{"runtimes.runc]", "runtimes.runc.options]"} {
		require.Contains(t, dumped, line, "the control")
		require.Contains(t, with, line, "the node's own handler")
	}
	require.NotContains(t, output(t, oomwitness, install...), "create", "the second time changes nothing")

	restart(t)
	var report struct {
		Findings []struct{ Name, Status, Found string }
	}
	out, _ := exec.CommandContext(t.Context(), oomwitness, "check", "-o", "json", "--bin-dir", bin).Output()
	require.NoError(t, json.Unmarshal(out, &report))
	status := map[string]string{}
	for _, f := range report.Findings {
		status[f.Name] = f.Status
		t.Logf("%-18s %-5s %s", f.Name, f.Status, f.Found)
	}
	for _, name := range []string{"kernel", "cgroup", "memory-controller", "containerd", "containerd-version", "runc", "shim", "drop-in", "imports"} {
		require.Equal(t, "ok", status[name], name)
	}

	require.Contains(t, output(t, oomwitness, "uninstall", "--bin-dir", bin), "remove")
	output(t, oomwitness, "uninstall", "--bin-dir", bin)
	require.NoFileExists(t, dropin)
	after, err := os.ReadFile("/etc/containerd/config.toml")
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.True(t, dumped == dump(t), "containerd's configuration is not what it was")
	restart(t)
}

// restart restarts the guest's containerd, and comes back when it answers.
func restart(t *testing.T) {
	t.Helper()
	output(t, "node-containerd", "restart")
}
