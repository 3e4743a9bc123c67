//go:build linux

package fire

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// inKubernetes puts the containers into CRI's namespace of containerd: in other namespaces
// CRI's annotations are not trusted.
func inKubernetes(cfg *shimtest.Config) { cfg.Namespace = "k8s.io" }

// spooled returns the exits of a container in the node's spool.
func spooled(t *testing.T, id string) []exits.Exit {
	t.Helper()
	list, _, err := exits.Read(exits.DefaultDir)
	require.NoError(t, err)
	return slices.DeleteFunc(list, func(e exits.Exit) bool { return e.ID != id })
}

// TestSpool: the spool has the verdict of a deleted container, with the names from CRI and the
// memory at the end.
func TestSpool(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "", inKubernetes)
	id := n.Name() + "-spooled"
	c := n.Run(id, shimtest.Args("hog"), small,
		shimtest.Annotation("io.kubernetes.cri.sandbox-name", "web-1"), shimtest.Annotation("io.kubernetes.cri.container-name", "app"))
	get(t, watchWait(ctx, c), statusKilled)
	end(t, c)
	list := spooled(t, id)
	require.Len(t, list, 1)
	e := list[0]
	require.Equal(t, oom.EndedOOM, e.Verdict.Ended)
	require.Equal(t, statusKilled, e.Status)
	require.Equal(t, "app", e.Pod.Container)
	require.Equal(t, n.Namespace(), e.Namespace)
	require.EqualValues(t, smallLimit, *e.Memory.Limit)
	if e.Memory.Peak != nil { // Linux 5.19 and later have memory.peak
		require.Greater(t, *e.Memory.Peak, uint64(smallLimit/2))
	}
}

// TestSpoolAfterShimsDeath: the exit of a dead shim's container is in the spool once.
func TestSpoolAfterShimsDeath(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "", inKubernetes)
	id := n.Name() + "-orphan"
	c := n.Run(id)
	require.NoError(t, c.Shim.Kill(ctx))
	_, _, err := n.DeleteDead(ctx, c.Bundle)
	require.NoError(t, err)
	list := spooled(t, id)
	require.Len(t, list, 1)
	require.Equal(t, oom.EndedStopped, list[0].Verdict.Ended)
}
