//go:build linux

package agentstorm

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/agent"
	"github.com/oomwitness/oomwitness/integration/controlplane"
	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestAtRest is what the agent costs while nothing is killed, by the containers of
// its node: its memory, and its CPU over AGENT_REST seconds.
func TestAtRest(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	program, pins := shimtest.Command(t), loaded(t)
	rest := time.Duration(counts.FromEnv(t, "AGENT_REST", 5)) * time.Second
	for _, containers := range []int{0, 250, 1000} {
		t.Run(fmt.Sprint(containers), func(t *testing.T) {
			plane := controlplane.Start(t)
			makePods(t, plane, containers)
			a, err := agent.Start(t.Context(), agent.Options{
				Program: program, Kubeconfig: plane.Kubeconfig, Node: nodeName, State: t.TempDir(),
				Flags: append(pins, "--address", "", "--kubelet-cgroup-root", cgroupRoot),
			})
			require.NoError(t, err)
			require.NoError(t, faultkit.Until(t.Context(), "the agent to know its node", func() error {
				return knows(t.Context(), containers)
			}))
			before, began := shimtest.CPUTime(t, a.PID()), time.Now()
			require.NoError(t, faultkit.Pause(t.Context(), rest))
			cpu := 100 * (shimtest.CPUTime(t, a.PID()) - before).Seconds() / time.Since(began).Seconds()
			memory, own := resident(t, a.PID())
			require.NoError(t, a.End(syscall.SIGTERM))
			t.Logf("metric=agent-at-rest containers=%d rss_kib=%d anon_kib=%d cpu_percent=%.3f seconds=%.0f", containers, memory, own, cpu, rest.Seconds())
			require.LessOrEqual(t, own, maxResident, "KiB of its own, with %d containers", containers)
		})
	}
}

// knows returns an error until the agent knows the cgroups of so many containers.
func knows(ctx context.Context, containers int) error {
	cgroups, err := agent.Metric(ctx, "oomwitness_cgroups")
	if err == nil && int(cgroups) < 2*containers { // each has its pod's
		err = fmt.Errorf("%v cgroups, with %d containers", cgroups, containers)
	}
	return err
}
