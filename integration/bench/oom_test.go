//go:build linux

package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestKillToOOM measures the time from the kill, by the kernel's own record, to the
// subscriber's receipt of the TaskOOM, and to the exit. BENCH_OOMS is the number of kills of
// each side.
func TestKillToOOM(t *testing.T) {
	n := node(t)
	ledger, err := bpf.Open("")
	require.NoError(t, err)
	defer ledger.Close()
	pods := map[string]*shimtest.Box{}
	for _, s := range sides(t) {
		n.SetShim(s.path)
		id := name(s, "pod", 0)
		pods[s.name] = n.Run(id, shimtest.Sandbox(id))
	}
	oom, exit := samples{}, samples{}
	for i := range counts.FromEnv(t, "BENCH_OOMS", 200) {
		for _, s := range sides(t) {
			c := n.RunIn(pods[s.name].Shim, name(s, "oom", i), shimtest.Args("term-hog"), small)
			killed, reported, exited := killAndReport(t, n, ledger, c)
			oom.took(s, reported.Sub(killed))
			exit.took(s, exited.Sub(killed))
		}
	}
	of, wanted := "", 0.50
	if cgroups.Mode() != cgroups.Unified {
		// On cgroup v1 the stock shim does not wait for a kill: it reports that a limit was
		// reached.
		of, wanted = "-v1", 0
	}
	report(t, "kill-to-taskoom"+of, "ms", wanted, oom)
	reportPercentile(t, "kill-to-taskoom-p99"+of, "ms", wanted, 99, oom)
	report(t, "kill-to-exit-seen"+of, "ms", 0, exit)
	for _, c := range pods {
		stop(t, c)
	}
}

// killAndReport has the OOM killer end init, and returns three times: of the kill, of the
// TaskOOM and of the exit that a client saw.
func killAndReport(t *testing.T, n *shimtest.Node, l *bpf.Ledger, c *shimtest.Box) (killed, reported, exited time.Time) {
	t.Helper()
	ctx := deadline(t)
	require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
	ticks, err := bpf.StartTicks(c.Pid)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(c.Pid, unix.SIGTERM))
	exit, err := c.Wait(ctx)
	exited = time.Now()
	require.NoError(t, err)
	require.EqualValues(t, statusKilled, exit.ExitStatus)
	event, err := n.Events.Wait(ctx, shimtest.All(shimtest.Topic(oomTopic), shimtest.Container(c.ID)))
	require.NoError(t, err)
	record, ok, err := l.Task(uint32(c.Pid), ticks)
	require.NoError(t, err)
	require.True(t, ok, "the ledger has no record of %s", c.ID)
	_, err = c.Delete(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Remove())
	return record.Time(), event.Received, exited
}

// stormPods is the number of pods over which the containers of a storm are spread.
const stormPods = 10

// TestStorm has the OOM killer end BENCH_STORM containers at once.
func TestStorm(t *testing.T) {
	n := node(t)
	containers := counts.FromEnv(t, "BENCH_STORM", 200)
	took, missed := samples{}, samples{}
	for i := range counts.FromEnv(t, "BENCH_STORMS", 1) {
		for _, s := range sides(t) {
			n.SetShim(s.path)
			all, without := storm(t, n, fmt.Sprintf("storm-%s-%d", s.name, i), containers)
			took.took(s, all)
			missed.add(s, float64(without))
		}
	}
	report(t, fmt.Sprintf("storm-of-%d", containers), "ms", 1.00, took)
	report(t, fmt.Sprintf("storm-of-%d-missed", containers), "containers", 0, missed)
}

// storm returns the time until every exit was seen and every TaskOOM had come, and the number
// of containers whose TaskOOM was not there when their exit was seen.
func storm(t *testing.T, n *shimtest.Node, id string, containers int) (time.Duration, int) {
	t.Helper()
	var pods, all []*shimtest.Box
	for i := range containers {
		if i < stormPods {
			pod := fmt.Sprintf("%s-%d", id, i)
			pods = append(pods, n.Run(pod, shimtest.Sandbox(pod)))
		}
		c := n.RunIn(pods[i%stormPods].Shim, fmt.Sprintf("%s-c%d", id, i), shimtest.Args("term-hog"), small)
		require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
		all = append(all, c)
	}
	seen := make(chan error, containers)
	since := time.Now()
	for _, c := range all {
		require.NoError(t, unix.Kill(c.Pid, unix.SIGTERM))
		go func() {
			_, err := c.Wait(deadline(t))
			seen <- err
		}()
	}
	for range all {
		require.NoError(t, <-seen)
	}
	took := time.Since(since)
	missed := 0
	for _, c := range all {
		events := n.Events.Select(shimtest.All(shimtest.Topic(oomTopic), shimtest.Container(c.ID)))
		if len(events) == 0 {
			missed++
			continue
		}
		took = max(took, events[0].Accepted.Sub(since))
	}
	for _, c := range all {
		_, err := c.Delete(deadline(t))
		require.NoError(t, err)
		require.NoError(t, c.Remove())
	}
	for _, pod := range pods {
		stop(t, pod)
		shutdown(t, pod.Shim)
	}
	return took, missed
}
