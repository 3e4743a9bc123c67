//go:build linux

package fire

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const (
	warmUp = 20
	// slack is for a goroutine or a descriptor that exists for a moment.
	slack = 2
)

// size is what a shim uses: goroutines, descriptors and memory.
type size struct{ goroutines, fds, rss int }

func measure(ctx context.Context, s *shimtest.Shim) (size, error) {
	stacks, err := s.Goroutines(ctx)
	if err != nil {
		return size{}, err
	}
	fds, err := s.FDs()
	if err != nil {
		return size{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return size{}, err
	}
	_, rest, ok := strings.Cut(string(status), "VmRSS:")
	if !ok {
		return size{}, fmt.Errorf("no VmRSS in %s", status)
	}
	rss, err := strconv.Atoi(strings.Fields(rest)[0])
	return size{goroutines: len(stacks), fds: len(fds), rss: rss}, err
}

// TestGrowth runs many containers in one shim. After the last container the shim may be no
// larger than after the first few. LEAK_RUNS is the number of containers.
func TestGrowth(t *testing.T) {
	n := node(t, "")
	runs := counts.FromEnv(t, "LEAK_RUNS", 100)
	sandbox := pod(t, n)
	round(t, n, sandbox, 0, warmUp)
	before, err := measure(deadline(t), sandbox.Shim)
	require.NoError(t, err)
	round(t, n, sandbox, warmUp, warmUp+runs)

	// What belongs to the last containers goes away a little later.
	ctx, cancel := context.WithTimeout(t.Context(), shimtest.Patience)
	defer cancel()
	var after size
	for grown := true; grown; {
		after, err = measure(deadline(t), sandbox.Shim)
		require.NoError(t, err)
		grown = after.goroutines > before.goroutines+slack || after.fds > before.fds+slack
		if grown && !settle(ctx) {
			break
		}
	}
	t.Logf("growth n=%d goroutines=%d→%d fds=%d→%d rss_kib=%d→%d", runs,
		before.goroutines, after.goroutines, before.fds, after.fds, before.rss, after.rss)
	require.LessOrEqual(t, after.goroutines, before.goroutines+slack, "goroutines")
	require.LessOrEqual(t, after.fds, before.fds+slack, "file descriptors")
	endPod(t, sandbox)
}

func settle(ctx context.Context) bool {
	select {
	case <-time.After(100 * poll):
		return true
	case <-ctx.Done():
		return false
	}
}

// round runs containers of four kinds over one connection, as a pod does that restarts its
// containers for ever.
func round(t *testing.T, n *shimtest.Node, sandbox *shimtest.Box, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		id := "grow-" + strconv.Itoa(i)
		kind := []struct {
			args   []string
			status uint32
			want   []string
		}{
			{[]string{"exit", "0"}, 0, quiet},
			{[]string{"hog"}, statusKilled, full},
			{[]string{"exit", "1"}, 1, quiet},
			{[]string{"trap-term", "2"}, 2, []string{
				createTopic, startTopic, "/tasks/exec-added", "/tasks/exec-started", exitTopic, exitTopic, deleteTopic,
			}},
		}[i%4]
		b := n.NewBundle(id, shimtest.Sandbox("pod"), shimtest.Args(kind.args...), small)
		c := createIn(t, sandbox.Shim, b)
		start(t, c)
		if kind.status == 2 {
			execAndStop(t, c)
		}
		get(t, watchWait(deadline(t), c), kind.status)
		_, err := c.Delete(deadline(t))
		require.NoError(t, err)
		event(t, n, deleteTopic, id)
		wantEvents(t, n, c, kind.want...)
		require.NoError(t, b.Remove())
	}
}

// execAndStop repeats an exec until the workload has its handler for SIGTERM.
func execAndStop(t *testing.T, c *shimtest.Box) {
	t.Helper()
	ctx := deadline(t)
	api := c.Shim.Task()
	require.NoError(t, startExec(ctx, api, c.ID, "e", "exit", "0"))
	status, err := endExec(ctx, api, c.ID, "e")
	require.NoError(t, err)
	require.Zero(t, status)
	require.NoError(t, c.Kill(ctx, 15))
	stop := watchWait(ctx, c)
	for len(stop) == 0 && ctx.Err() == nil {
		require.NoError(t, pause(ctx))
		_, _ = api.Kill(ctx, &task.KillRequest{ID: c.ID, Signal: 15}) // the first SIGTERM may have come before the handler
	}
}
