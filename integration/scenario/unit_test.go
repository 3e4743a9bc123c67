//go:build linux

package scenario

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/mix"
)

const ledgerUnit = "oomwitness-ledger.service"

// property reads one of a unit.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(output(t, "systemctl", "show", "--value", "-p", name, unit))
}

func monotonic(t *testing.T, unit, name string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(property(t, unit, name), 10, 64)
	require.NoError(t, err)
	return n
}

// TestUnit installs the unit under the real systemd. The guest can't be booted
// again, so a boot's transaction stands for it: containerd and the target that
// wants the unit, started together.
func TestUnit(t *testing.T) {
	runner(t)
	if mix.DriverHere() != mix.Systemd {
		t.Skip("needs systemd as init: FLAVOUR=systemd")
	}
	bin := t.TempDir()
	install := []string{"install", "--bin-dir", bin, "--shim", "/opt/oomwitness/bin/containerd-shim-oomwitness-v2"}
	require.Contains(t, output(t, oomwitness, install...), ledgerUnit)
	uninstall := []string{"uninstall", "--bin-dir", bin, "--unload", "--force"}
	t.Cleanup(func() {
		output(t, oomwitness, uninstall...)
		output(t, "systemctl", "daemon-reload")
		output(t, "node-containerd", "start")
		output(t, oomwitness, "load")
	})
	output(t, "systemd-analyze", "verify", "/etc/systemd/system/"+ledgerUnit)
	output(t, "systemctl", "daemon-reload")
	require.Equal(t, "enabled\n", output(t, "systemctl", "is-enabled", ledgerUnit))
	require.Contains(t, strings.Fields(property(t, "multi-user.target", "Wants")), ledgerUnit)
	require.Contains(t, strings.Fields(property(t, "containerd.service", "After")), ledgerUnit)

	output(t, oomwitness, "unload")
	output(t, "systemctl", "stop", "containerd.service")
	output(t, "systemctl", "start", ledgerUnit, "containerd.service")
	require.Equal(t, "active\n", output(t, "systemctl", "is-active", ledgerUnit))
	require.Contains(t, output(t, "systemctl", "status", ledgerUnit), "active (exited)")
	require.Equal(t, "success", property(t, ledgerUnit, "Result"))
	l, err := bpf.Open("")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Less(t, monotonic(t, ledgerUnit, "ExecMainExitTimestampMonotonic"),
		monotonic(t, "containerd.service", "ExecMainStartTimestampMonotonic"), "the ledger first")
	output(t, "systemctl", "restart", ledgerUnit)
	require.Equal(t, "success", property(t, ledgerUnit, "Result"))

	require.Contains(t, output(t, oomwitness, uninstall...), "unload")
	output(t, "systemctl", "daemon-reload")
	for _, name := range []string{
		"/etc/systemd/system/" + ledgerUnit, "/etc/systemd/system/multi-user.target.wants/" + ledgerUnit,
		bin + "/oomwitness", bin + "/containerd-shim-oomwitness-v2", "/etc/containerd/conf.d/oomwitness.toml",
	} {
		require.NoFileExists(t, name)
	}
	left, err := os.ReadDir(bpf.DefaultDir)
	require.True(t, err != nil || len(left) == 0, "left of the ledger: %v", left)
	require.NotContains(t, output(t, "systemctl", "list-unit-files"), ledgerUnit)
}
