//go:build linux

package fire

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const smallLimit = 32 << 20

// TestStatsAfterOOM asks for the metrics of an OOM-killed container whose cgroup is removed.
func TestStatsAfterOOM(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "")
	c := n.Run("gone", shimtest.Args("hog"), small)
	get(t, watchWait(ctx, c), statusKilled)
	before := stats(t, c)
	require.NoError(t, unix.Rmdir(cgroupOf(n, c.ID)))
	require.Equal(t, metrics{kills: 1, limit: smallLimit}, before)
	require.Equal(t, before, stats(t, c), "the metrics changed with the cgroup's removal")
	end(t, c)
	wantEvents(t, n, c, full...)
}

// TestStatsAfterExit has a child killed, and init exit with 0. The kernel has counted a kill,
// and Stats must not show the kill as the exit's cause.
func TestStatsAfterExit(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "")
	c := n.Run("clean", shimtest.Args("child-oom-exit", "0"), small)
	get(t, watchWait(ctx, c), 0)
	require.EqualValues(t, 1, kernelKills(t, n, c.ID))
	require.Equal(t, metrics{kills: 0, limit: smallLimit}, stats(t, c))
	require.NoError(t, unix.Rmdir(cgroupOf(n, c.ID)))
	require.Equal(t, metrics{kills: 0, limit: smallLimit}, stats(t, c))
	end(t, c)
	wantEvents(t, n, c, quiet...)
}

// TestStatsWhileRunning wants the kernel's own count from a running container.
func TestStatsWhileRunning(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "")
	c := n.Run("running", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
	for kills := uint64(1); kills <= 3; kills++ {
		require.Equal(t, kills, kernelKills(t, n, c.ID))
		require.Equal(t, metrics{kills: kills, limit: smallLimit}, stats(t, c))
		require.NoError(t, startExec(ctx, c.Shim.Task(), c.ID, "e", "child-oom-exit", "0"))
		_, err := endExec(ctx, c.Shim.Task(), c.ID, "e")
		require.NoError(t, err)
		// Upstream publishes TaskExit and the next TaskStart from different goroutines.
		_, err = n.Events.WaitN(ctx, shimtest.All(shimtest.Topic(exitTopic), shimtest.Container(c.ID)), int(kills))
		require.NoError(t, err)
	}
	require.NoError(t, c.Kill(ctx, 15))
	get(t, watchWait(ctx, c), 143)
	require.Zero(t, stats(t, c).kills)
	end(t, c)
	wantEvents(t, n, c,
		createTopic, startTopic,
		"/tasks/exec-added", "/tasks/exec-started", exitTopic,
		"/tasks/exec-added", "/tasks/exec-started", exitTopic,
		"/tasks/exec-added", "/tasks/exec-started", exitTopic,
		exitTopic, deleteTopic)
}
