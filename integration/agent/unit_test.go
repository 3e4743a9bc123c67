//go:build linux

package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestUnit runs the agent by the unit that install writes, confined as that is: it
// reports a kill, with CAP_BPF alone, and comes back when it is killed.
func TestUnit(t *testing.T) {
	setUp(t) // the cluster's set-up has loaded the ledger
	ctx := t.Context()
	const unit = "oomwitness-agent.service"
	require.NoError(t, faultkit.Run(ctx, faultkit.Command, "install", "--agent", "--systemd-unit", "true",
		"--shim", "/opt/oomwitness/bin/containerd-shim-oomwitness-v2"))
	const flags = "/etc/default/oomwitness-agent"
	require.NoError(t, os.WriteFile(flags, []byte("OOMWITNESS_AGENT_FLAGS=--metrics-address=127.0.0.1:18081 --state-dir=/var/lib/oomwitness/agent\n"), 0o644))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			out, _ := exec.CommandContext(ctx, "journalctl", "--no-pager", "-u", unit).CombinedOutput()
			t.Logf("%s", out)
		}
		require.NoError(t, faultkit.Run(ctx, "systemctl", "stop", unit))
		for _, name := range []string{flags, "/etc/systemd/system/" + unit, "/etc/systemd/system/multi-user.target.wants/" + unit} {
			require.NoError(t, os.Remove(name))
		}
		require.NoError(t, faultkit.Run(ctx, "systemctl", "daemon-reload"))
	})
	require.NoError(t, faultkit.Run(ctx, "systemctl", "daemon-reload"))
	// The ring has one reader: this test's other agent holds it, and the unit reads
	// the map of victims meanwhile.
	require.NoError(t, faultkit.Run(ctx, "systemctl", "start", unit))
	require.NoError(t, faultkit.Run(ctx, "systemd-run", "--collect", "--unit=oomwitness-victim", "-p", "MemoryMax=32M",
		"/opt/oomwitness/bin/oomwitness-workload", "hog"))
	counted := func() error { return countsVictim(ctx) }
	require.NoError(t, faultkit.Until(ctx, "the unit to count the kill", counted))
	require.NoError(t, faultkit.Run(ctx, "systemctl", "kill", "--signal=KILL", unit))
	require.NoError(t, faultkit.Until(ctx, "the unit to be back", counted))
	pid, err := exec.CommandContext(ctx, "systemctl", "show", "--value", "-p", "MainPID", unit).Output()
	require.NoError(t, err)
	proc := "/proc/" + strings.TrimSpace(string(pid))
	status, err := os.ReadFile(proc + "/status")
	require.NoError(t, err)
	require.Contains(t, string(status), fmt.Sprintf("CapEff:\t%016x\n", uint64(1)<<unix.CAP_BPF))
	score, err := os.ReadFile(proc + "/oom_score_adj")
	require.NoError(t, err)
	require.Equal(t, "-999\n", string(score))
}

// countsVictim returns an error unless the unit's agent has counted a kill at a
// cgroup's own limit.
func countsVictim(ctx context.Context) error {
	body, err := faultkit.Get(ctx, "http://127.0.0.1:18081/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(body) {
		if n, ok := strings.CutPrefix(line, `oomwitness_oom_victims_total{cause="container"} `); ok && n != "0\n" {
			return nil
		}
	}
	return fmt.Errorf("no victim counted: %s", body)
}
