//go:build linux

package bench

import (
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestCycle runs short containers, each in a pod of its own: BENCH_CYCLES of each side.
func TestCycle(t *testing.T) {
	n := node(t)
	whole, begin, create, exit := samples{}, samples{}, samples{}, samples{}
	for i := range counts.FromEnv(t, "BENCH_CYCLES", 300) {
		for _, s := range sides(t) {
			n.SetShim(s.path)
			b := n.NewBundle(name(s, "cycle", i), shimtest.Args("exit", "0"))
			ctx := deadline(t)

			t0 := time.Now()
			shim, err := n.StartShim(ctx, b)
			require.NoError(t, err)
			t1 := time.Now()
			_, err = shim.Task().Create(ctx, b.CreateRequest())
			require.NoError(t, err)
			_, err = shim.Task().Start(ctx, &task.StartRequest{ID: b.ID})
			require.NoError(t, err)
			t2 := time.Now()
			_, err = shim.Task().Wait(ctx, &task.WaitRequest{ID: b.ID})
			require.NoError(t, err)
			t3 := time.Now()
			_, err = shim.Task().Delete(ctx, &task.DeleteRequest{ID: b.ID})
			require.NoError(t, err)
			shutdown(t, shim)
			t4 := time.Now()

			require.NoError(t, b.Remove())
			begin.took(s, shim.StartTook)
			create.took(s, t2.Sub(t1))
			exit.took(s, t3.Sub(t2))
			whole.took(s, t4.Sub(t0))
		}
	}
	report(t, "start-process", "ms", 1.00, begin)
	report(t, "create-and-start", "ms", 1.00, create)
	report(t, "start-to-exit-seen", "ms", 1.02, exit)
	report(t, "short-cycle", "ms", 1.00, whole)
}
