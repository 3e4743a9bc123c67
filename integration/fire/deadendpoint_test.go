//go:build linux

package fire

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestTheEndpointOfADeadShim has the endpoint not answer, or be absent, when the container is
// removed. The answer must be right, and within containerd's time.
func TestTheEndpointOfADeadShim(t *testing.T) {
	// containerd's own limit (core/runtime/v2/shim.go, cleanupTimeout).
	const cleanup = 5 * time.Second
	for name, test := range map[string]struct {
		spoil func(n *shimtest.Node) (mend func())
		left  bool // the TaskOOM is left to a deferred publisher
	}{
		"never answers": {func(n *shimtest.Node) func() { return n.Events.Hold(isOOM) }, true},
		"is away": {func(n *shimtest.Node) func() {
			n.Events.StopListening()
			return func() { require.NoError(t, n.Events.Resume()) }
		}, true},
		"refuses first": {func(n *shimtest.Node) func() {
			n.Events.Fail(isOOM, context.DeadlineExceeded, 3)
			return func() {}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := faulty(t, "decided")
			c := doomed(t, n, shimtest.Args("child-oom-exit", "7")) // no early TaskOOM is possible here
			require.NoError(t, c.Shim.WaitExit(deadline(t)))
			mend := test.spoil(n)
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, 7, got.ExitStatus)
			require.Less(t, got.took, cleanup, "containerd would have killed it")
			if !test.left {
				require.Equal(t, 1, got.ooms, "%s", got.stderr)
				require.Empty(t, deferredPublishers(t, n))
				return
			}
			require.Zero(t, got.ooms)
			require.Contains(t, got.stderr, "a deferred publisher waits for it")
			require.Len(t, deferredPublishers(t, n), 1)
			mend()
			_, err := n.Events.WaitN(deadline(t), shimtest.All(isOOM, shimtest.Container(c.ID)), 2)
			require.NoError(t, err, "the deferred publisher's")
			for ctx := deadline(t); len(deferredPublishers(t, n)) > 0; {
				require.NoError(t, pause(ctx), "the deferred publisher lives on")
			}
		})
	}
}

// deferredPublishers returns the pids of a node's deferred publishers.
func deferredPublishers(t *testing.T, n *shimtest.Node) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range lines {
		line, _ := os.ReadFile(file) // the process may have ended
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		if strings.HasSuffix(string(line), "\x00publish\x00") && strings.Contains(string(env), n.Dir+"/") {
			pids = append(pids, file)
		}
	}
	return pids
}
