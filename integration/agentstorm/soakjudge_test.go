//go:build linux

package agentstorm

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
)

// allCounted returns an error until all kills in the pods are in the log with their
// names, each once, and all in the log are in the metrics.
func (s *soak) allCounted(ctx context.Context) error {
	type process struct {
		pid   uint32
		start uint64
	}
	seen := map[process]int{}
	all := 0
	for _, line := range s.agent.Lines() {
		all += len(line.Victims)
		for _, v := range line.Victims {
			if ofSoak(&v) {
				seen[process{v.PID, v.StartTicks}]++
			}
		}
	}
	for p, n := range seen {
		if n > 1 {
			return fmt.Errorf("process %d is reported %d times", p.pid, n)
		}
	}
	if want := int(s.killed.Load()); len(seen) != want {
		return fmt.Errorf("%d of %d are named", len(seen), want)
	}
	body, err := agent.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	victims, err := agent.Sum(body, "oomwitness_oom_victims_total")
	if err == nil && int(victims) != all {
		err = fmt.Errorf("%v victims counted of %d", victims, all)
	}
	return err
}

// allReported returns an error until all kills are in Events on the pods, none twice. A
// flood of kills by others on this machine fills the queue: what it had no room for
// is counted.
func (s *soak) allReported(t *testing.T, plane *controlplane.Plane) error {
	full, err := agent.Metric(t.Context(), "oomwitness_events_total", `stage="skipped"`, `reason="queue_full"`)
	if err != nil {
		return err
	}
	reported, _, err := eventCounts(t.Context(), plane)
	killed := int(s.killed.Load())
	require.LessOrEqual(t, reported, killed)
	if err == nil && reported+int(full) < killed {
		err = fmt.Errorf("%d of %d, and %v had no room", reported, killed, full)
	}
	return err
}

// ofSoak reports whether a victim has all of its names: others are killed on this
// machine as well.
func ofSoak(v *agenttest.Victim) bool {
	return v.Pod != nil && strings.HasPrefix(v.Pod.Name, "soak-") && v.Container != nil && v.Container.Name == "app"
}

// judge prints the soak's line, and says what is too much.
func (s *soak) judge(t *testing.T, lasted time.Duration, cpu, disk float64) {
	t.Helper()
	steady := lasted >= warmUp+leastSteady
	from := time.Duration(0)
	if steady {
		from = warmUp
	}
	own, ownEnd := around(s.samples, from, func(s sample) int { return s.own })
	fds, fdsEnd := around(s.samples, 0, func(s sample) int { return s.fds })
	goroutines, goroutinesEnd := around(s.samples, 0, func(s sample) int { return s.goroutines })
	cgroups, cgroupsEnd := around(s.samples, from, func(s sample) int { return s.cgroups })
	watched, watchedEnd := around(s.samples, 0, func(s sample) int { return s.watched })
	last := s.samples[len(s.samples)-1]
	t.Logf("metric=agent-soak seconds=%.0f steady=%t alive=%d pods=%d kills=%d anon_kib_first=%d anon_kib_last=%d anon_kib_peak=%d "+
		"goroutines=%d..%d fds=%d..%d cgroups=%d..%d watched=%d..%d series=%d cpu_percent=%.2f disk_kib_per_s=%.2f",
		lasted.Seconds(), steady, soakPods, s.made.Load(), s.killed.Load(), own, ownEnd, s.peak,
		goroutines, goroutinesEnd, fds, fdsEnd, cgroups, cgroupsEnd, watched, watchedEnd, last.series, cpu, disk)
	require.NotZero(t, s.killed.Load())
	require.Greater(t, int(s.made.Load()), soakPods+int(lasted.Seconds()), "pods made, one a second at least")
	require.LessOrEqual(t, s.peak, maxResident, "KiB of its own")
	require.LessOrEqual(t, fdsEnd, fds+mayOpen, "open files")
	require.LessOrEqual(t, goroutinesEnd, goroutines+mayRun, "goroutines")
	require.LessOrEqual(t, watchedEnd, watched+watched/10, "cgroups watched")
	if steady {
		require.LessOrEqual(t, ownEnd, own+mayGrow, "KiB of its own, after the first minutes")
		require.LessOrEqual(t, cgroupsEnd, cgroups+cgroups/10, "cgroups known, after the first minutes")
	}
}
