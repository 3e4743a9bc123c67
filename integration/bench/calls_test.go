//go:build linux

package bench

import (
	"fmt"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"encoding/json"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/integration/workload"
)

// rounds is the number of turns over which the calls are spread.
const rounds = 10

// TestCalls has both shims answer the same calls in turns: BENCH_EXECS of exec, BENCH_STATS of
// stats.
func TestCalls(t *testing.T) {
	n := node(t)
	pods := map[string]*shimtest.Box{}
	for _, s := range sides(t) {
		n.SetShim(s.path)
		pods[s.name] = n.Run(name(s, "calls", 0))
	}
	execs := max(rounds, counts.FromEnv(t, "BENCH_EXECS", 1000))
	stats := max(rounds, counts.FromEnv(t, "BENCH_STATS", 1000))
	inTurns(t, pods, "exec", execs, func(c *shimtest.Box, i int) { execTrue(t, c, fmt.Sprintf("e%d", i)) })
	inTurns(t, pods, "stats", stats, func(c *shimtest.Box, _ int) {
		_, err := c.Stats(t.Context())
		require.NoError(t, err)
	})
	for _, c := range pods {
		stop(t, c)
	}
}

// inTurns reports CPU and time of n calls to each side, per thousand calls.
func inTurns(t *testing.T, pods map[string]*shimtest.Box, what string, n int, do func(*shimtest.Box, int)) {
	t.Helper()
	cpu, wall := samples{}, samples{}
	for r := range rounds {
		for _, s := range sides(t) {
			c := pods[s.name]
			before, since := shimtest.CPUTime(t, c.Shim.Pid()), time.Now()
			for i := range n / rounds {
				do(c, r*n+i)
			}
			thousand := 1000 / float64(n/rounds)
			wall.took(s, time.Duration(float64(time.Since(since))*thousand/1000))
			cpu.took(s, time.Duration(float64(shimtest.CPUTime(t, c.Shim.Pid())-before)*thousand))
		}
	}
	report(t, "cpu-1000-"+what, "ms", 1.00, cpu)
	report(t, what, "ms", 0, wall)
}

// execTrue runs a process that ends at once, by exec.
func execTrue(t *testing.T, c *shimtest.Box, id string) {
	t.Helper()
	ctx, api := t.Context(), c.Shim.Task()
	spec, err := json.Marshal(specs.Process{Args: []string{workload.Path, "exit", "0"}, Cwd: "/", Env: []string{"PATH=/"}})
	require.NoError(t, err)
	_, err = api.Exec(ctx, &task.ExecProcessRequest{ID: c.ID, ExecID: id, Spec: &anypb.Any{
		TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: spec,
	}})
	require.NoError(t, err)
	_, err = api.Start(ctx, &task.StartRequest{ID: c.ID, ExecID: id})
	require.NoError(t, err)
	exit, err := api.Wait(ctx, &task.WaitRequest{ID: c.ID, ExecID: id})
	require.NoError(t, err)
	require.Zero(t, exit.ExitStatus)
	_, err = api.Delete(ctx, &task.DeleteRequest{ID: c.ID, ExecID: id})
	require.NoError(t, err)
}
