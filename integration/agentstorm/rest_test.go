//go:build linux

package agentstorm

import (
	"context"
	"fmt"
	"os"
	"strings"
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
				Flags: append(pins, "--address", ""),
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
			require.LessOrEqual(t, own, maxOwn, "KiB, with %d containers", containers)
		})
	}
}

// knows gives an error until the agent watches the cgroups of so many containers.
func knows(ctx context.Context, containers int) error {
	page, err := agent.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(page) {
		var cgroups float64
		if n, _ := fmt.Sscanf(line, "oomwitness_cgroups %g", &cgroups); n == 1 && int(cgroups) >= 2*containers {
			return nil
		}
	}
	return fmt.Errorf("fewer cgroups than %d containers have", containers)
}
