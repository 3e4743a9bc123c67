//go:build linux

package shim

import (
	"errors"
	"testing"
	"testing/synctest"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
)

func pidsOf(t *testing.T, b *bench, id string) []uint32 {
	t.Helper()
	resp, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: id})
	require.NoError(t, err)
	var pids []uint32
	for _, p := range resp.Processes {
		pids = append(pids, p.Pid)
	}
	return pids
}

// A containerd that starts throws the shim away unless Pids answers with
// something, from Create to Delete.
func TestPidsHasInitUntilTheDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, err := b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
		require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)))

		b.create(t, "c")
		init := uint32(b.container("c").initPid())
		require.Equal(t, []uint32{init, 42}, pidsOf(t, b, "c"), "upstream's answer while init runs")
		b.task.pidsErr = errors.New("runc is not well")
		_, err = b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
		require.ErrorContains(t, err, "runc is not well")
		b.task.pidsErr = errgrpc.ToGRPC(errdefs.ErrNotFound)
		require.Equal(t, []uint32{init}, pidsOf(t, b, "c"), "gone, and not reaped yet")
		b.task.pidsErr = nil

		i := b.task.end(t, "c", 3)
		require.Equal(t, []uint32{init}, pidsOf(t, b, "c"), "ended, and nothing was published")
		b.task.publishExit(t, "c", i)
		b.task.pidsErr = errors.New("container is stopped")
		require.Equal(t, []uint32{init}, pidsOf(t, b, "c"), "exited")

		_, err = b.Delete(b.ctx, &taskAPI.DeleteRequest{ID: "c"})
		require.NoError(t, err)
		_, err = b.Pids(b.ctx, &taskAPI.PidsRequest{ID: "c"})
		require.True(t, errdefs.IsNotFound(errgrpc.ToNative(err)), "deleted")
	})
}

// A containerd that starts gives each shim 5 s in all, and only wants to know
// whether there is anything: runc is not asked.
func TestPidsDoesNotDelayAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		init := uint32(b.container("c").initPid())
		for _, s := range []step{connects, dies, isBack, reconnects} {
			s(t, b)
		}
		b.task.pidsErr = errors.New("runc is busy")
		require.Equal(t, []uint32{init}, pidsOf(t, b, "c"))
		b.task.pidsErr = nil
		require.Equal(t, []uint32{init, 42}, pidsOf(t, b, "c"), "who asks later wants all")
	})
}
