//go:build linux

package fire

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestInitOutlivesTheShim kills the shim of a running container, also of one with a killed
// child. The removal of the container is no OOM.
func TestInitOutlivesTheShim(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		ready string
	}{
		"nothing killed": {[]string{"trap-term", "3"}, "ready"},
		"child killed":   {[]string{"child-oom-sleep"}, "child died"},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, "")
			c := n.Run("c", shimtest.Args(test.args...), small)
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), test.ready))
			require.NoError(t, c.Shim.Kill(deadline(t)))
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, statusKilled, got.ExitStatus)
			require.Equal(t, c.Pid, int(got.Pid))
			require.Zero(t, got.ooms, "%s", got.stderr)
			require.Contains(t, got.stderr, "ended=stopped")
			requireRemoved(t, n, c.Shim, c.Bundle)
		})
	}
}

// TestKilledAfterTheShim has init OOM-killed when its shim is dead already: nobody has the
// status.
func TestKilledAfterTheShim(t *testing.T) {
	n := node(t, "")
	c := n.Run("c", shimtest.Args("hog", "16"), small)
	require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
	require.NoError(t, c.Shim.Kill(deadline(t)))
	killInit(t, n, c)
	got := remove(t, n, c.Bundle)
	require.EqualValues(t, statusKilled, got.ExitStatus)
	require.Equal(t, 1, got.ooms, "%s", got.stderr)
	requireRemoved(t, n, c.Shim, c.Bundle)
}

// killInit has the OOM killer end init because of another process in the same cgroup, and waits
// for init's end.
func killInit(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.Pid), []byte("1000"), 0o644))
	hog := exec.Command("sh", "-c", `echo $$ > "$0" && exec "$1" hog`, filepath.Join(cgroupOf(n, c.ID), "cgroup.procs"), shimtest.WorkloadBinary(t))
	require.NoError(t, hog.Start())
	for ctx := deadline(t); runs(c.Pid); {
		require.NoError(t, pause(ctx), "init lives on")
	}
	_ = hog.Process.Kill()
	_ = hog.Wait()
}

// runs reports whether a process runs. A process that has ended and was not reaped does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestStoppedThenTheShimDies has containerd ask for the stop, and the shim die before its
// verdict. The record has the request.
func TestStoppedThenTheShimDies(t *testing.T) {
	n := faulty(t, "reaped")
	c := n.Run("c", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, c.Stdio.WaitOutput(deadline(t), "child died"))
	_ = c.Kill(deadline(t), uint32(unix.SIGTERM)) // the shim may be dead before it answers
	require.NoError(t, c.Shim.WaitExit(deadline(t)))
	got := remove(t, n, c.Bundle)
	require.Contains(t, []uint32{143, statusKilled}, got.ExitStatus)
	require.Zero(t, got.ooms, "%s", got.stderr)
	require.Contains(t, got.stderr, "rule=3")
}
