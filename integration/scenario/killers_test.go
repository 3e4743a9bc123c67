//go:build linux

package scenario

import (
	"context"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// TestEarlyOOM has Debian's earlyoom kill a container: less of the node's memory is
// available than earlyoom wants, once init holds its part.
func TestEarlyOOM(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	root := faultkit.DebianRoot(t)
	if hierarchy(t).Version < 2 {
		t.Skip("needs a guest: earlyoom would look at all processes of this machine")
	}
	const hold = 512 * mix.MiB
	c := mix.Case{
		Name:      "earlyoom",
		Container: mix.Container{Args: []string{"gulp", strconv.Itoa(hold / mix.MiB)}, Score: 1000},
		Want:      mix.Want{Status: 137, Init: oom.No},
	}
	faultkit.EarlyOOM(t, root, hold)
	killedBy(t, r, c, "earlyoom")
}

// killedBy runs a container that somebody on the node is to kill, and wants that sender.
func killedBy(t *testing.T, r *mix.Runner, c mix.Case, comm string) {
	t.Helper()
	for range runs(t) {
		o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
		require.NoError(t, err)
		check(t, c, o)
		require.Equal(t, oom.RuleSender, o.Verdict.Rule, "%+v", *o.Verdict)
		require.Equal(t, oom.EndedSignal, o.Verdict.Ended)
		require.NotNil(t, o.Verdict.Sender)
		require.Equal(t, comm, o.Verdict.Sender.Comm)
		require.Contains(t, logLine(t, "verdict", o.ID)["sender"], comm)
	}
}

// TestSystemdOOMD has Debian's systemd-oomd kill a container, whose memory is under
// pressure, and which is watched since its unit says so.
func TestSystemdOOMD(t *testing.T) {
	r := runner(t)
	if mix.DriverHere() != mix.Systemd {
		t.Skip("needs systemd as init: FLAVOUR=systemd")
	}
	freshLedger(t)
	faultkit.SystemdOOMD(t, faultkit.DebianRoot(t))
	killedBy(t, r, mix.Case{
		Name:      "oomd",
		Container: mix.Container{Args: []string{"hog"}, Unified: map[string]string{"memory.high": strconv.Itoa(limit)}},
		Act: func(ctx context.Context, run *mix.Running) error {
			return exec.CommandContext(ctx, "systemctl", "set-property", "--runtime", "oomw-"+run.Task.ID()+".scope",
				"ManagedOOMMemoryPressure=kill", "ManagedOOMMemoryPressureLimit=1%").Run()
		},
		Want: mix.Want{Status: 137, Init: oom.No},
	}, "systemd-oomd")
}
