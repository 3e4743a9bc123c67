//go:build linux

// Package bench compares the shim with the stock shim. Both are built with the same flags and
// run interleaved (A, B, A, B) on one node with one endpoint for events. Each figure is a line
// "metric=… unit=… stock=… ours=… ratio=… n=…" with the medians; the spread is the range from
// the 10th to the 90th percentile. A table of all figures comes last. Compare only the ratios
// of one run: both shims then had the same machine with the same load.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const (
	oomTopic     = "/tasks/oom"
	statusKilled = 137
)

// side is one of the two shims.
type side struct{ name, path string }

// small is a limit that a hog reaches soon, and in which runc's own init fits.
var small = shimtest.MemoryLimit(32 << 20)

func TestMain(m *testing.M) {
	status := m.Run()
	printTable(os.Stdout)
	os.Exit(status)
}

// sides returns stock and ours, in the order in which they take turns.
func sides(t *testing.T) []side {
	t.Helper()
	return []side{{"stock", shimtest.Stock(t)}, {"ours", shimtest.Ours(t)}}
}

// node starts a node with the ledger loaded. If no ledger was there, the first of our shims
// loads it, as on any node.
func node(t *testing.T) *shimtest.Node {
	t.Helper()
	n := shimtest.Start(t, shimtest.Config{Shim: shimtest.Ours(t), Root: tmpfs(t)})
	before := loaded()
	end(t, n.Run("first", shimtest.Args("exit", "0")))
	require.True(t, loaded(), "without a ledger the figures are of another shim: is oomwitness beside OOMWITNESS_SHIM?")
	if !before {
		t.Cleanup(func() { require.NoError(t, bpf.Unload("", "")) })
	}
	return n
}

// tmpfs returns a folder for bundles in memory, as containerd's own bundles are in /run. On a
// disk, renames and syncs would dominate the shim's time.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	require.NoError(t, err)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700"))
	t.Cleanup(func() {
		require.NoError(t, unix.Unmount(dir, 0))
		require.NoError(t, os.Remove(dir))
	})
	return dir
}

func loaded() bool {
	l, err := bpf.Open("")
	if err != nil {
		return false
	}
	_ = l.Close()
	return true
}

// end waits for a container's exit, and deletes the container with its shim.
func end(t *testing.T, c *shimtest.Box) {
	t.Helper()
	ctx := deadline(t)
	_, err := c.Wait(ctx)
	require.NoError(t, err)
	_, err = c.Delete(ctx)
	require.NoError(t, err)
	shutdown(t, c.Shim)
	require.NoError(t, c.Remove())
}

// shutdown stops a shim that has no containers. The shim may be gone before it has answered.
func shutdown(t *testing.T, s *shimtest.Shim) {
	t.Helper()
	ctx := deadline(t)
	if _, err := s.Task().Shutdown(ctx, &task.ShutdownRequest{ID: s.Bundle.ID}); !errors.Is(err, ttrpc.ErrClosed) {
		require.NoError(t, err)
	}
	require.NoError(t, s.WaitExit(ctx))
}

// stop ends a container that would not end by itself.
func stop(t *testing.T, c *shimtest.Box) {
	t.Helper()
	require.NoError(t, c.Kill(deadline(t), 9))
	_, err := c.Wait(deadline(t))
	require.NoError(t, err)
	_, err = c.Delete(deadline(t))
	require.NoError(t, err)
}

// deadline returns a context for one step, long enough for a slow node.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*shimtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// name returns the name of the i-th container of a side.
func name(s side, what string, i int) string { return fmt.Sprintf("%s-%s-%d", what, s.name, i) }
