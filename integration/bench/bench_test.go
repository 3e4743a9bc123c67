//go:build linux

// Package bench compares the shim with the stock one: both built with the same
// flags, interleaved A, B, A, B on one node with one endpoint for events. Each
// figure is a line "metric=… unit=… stock=… ours=… ratio=… n=…" with the medians
// and, as spread, the range from the 10th to the 90th percentile; the table
// of all comes last. Only the ratios of one run mean something: both shims had the same
// machine, be it busy or not.
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

// small is a limit that a hog has soon reached, and that runc's own init fits in.
var small = shimtest.MemoryLimit(32 << 20)

func TestMain(m *testing.M) {
	status := m.Run()
	printTable(os.Stdout)
	os.Exit(status)
}

// sides gives stock and ours, in the order in which they take turns.
func sides(t *testing.T) []side {
	t.Helper()
	return []side{{"stock", shimtest.Stock(t)}, {"ours", shimtest.Ours(t)}}
}

// node starts a node with the ledger loaded: by the first of our shims, as on any
// node, unless it was there before.
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

// tmpfs gives a folder to make bundles in: containerd's own are in /run. On a disk
// the time of a shim would be that of its renames and syncs.
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

// end waits for a container's exit and deletes it with its shim.
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

// shutdown ends a shim without containers. It may be gone before it has answered.
func shutdown(t *testing.T, s *shimtest.Shim) {
	t.Helper()
	ctx := deadline(t)
	if _, err := s.Task().Shutdown(ctx, &task.ShutdownRequest{ID: s.Bundle.ID}); !errors.Is(err, ttrpc.ErrClosed) {
		require.NoError(t, err)
	}
	require.NoError(t, s.WaitExit(ctx))
}

// stop ends a container that would go on.
func stop(t *testing.T, c *shimtest.Box) {
	t.Helper()
	require.NoError(t, c.Kill(deadline(t), 9))
	_, err := c.Wait(deadline(t))
	require.NoError(t, err)
	_, err = c.Delete(deadline(t))
	require.NoError(t, err)
}

// deadline is for one step, on a node that may be slow.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*shimtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// name is of the i-th container of a side.
func name(s side, what string, i int) string { return fmt.Sprintf("%s-%s-%d", what, s.name, i) }
