//go:build linux

package compat

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

const rootfs = "/opt/oomwitness/rootfs"

// node is the node of one row of the matrix.
type node struct {
	*mix.Runner
	where string
	v1    bool // cgroup v1
	runs  int  // runs of each case
}

// setUp starts the containerd that the environment names.
func setUp(t *testing.T) node {
	t.Helper()
	if os.Getenv(faultkit.VersionEnv) == "" {
		t.Skipf("needs a node and the environment variable %s, such as 1.7: make compat", faultkit.VersionEnv)
	}
	require.NoError(t, faultkit.UseContainerd(t.Context(), faultkit.Version()))
	n := node{runs: counts.FromEnv(t, "COMPAT_RUNS", 1)}
	var err error
	n.where, err = faultkit.Where(t.Context())
	require.NoError(t, err)
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	n.v1 = h.Version == 1
	n.Runner, err = mix.NewRunner(t.Context(), mix.DriverHere(), rootfs)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// cases returns the cases of make compare that the node's kernel can have: cgroup v1 has no
// memory.oom.group.
func (n node) cases() []mix.Case {
	return slices.DeleteFunc(mix.Mix(), func(c mix.Case) bool { return n.v1 && c.Unified != nil })
}

// stockRuns limits the runs of the stock shim. A few runs show that the case finds the stock
// shim's faults; make compare counts them.
const stockRuns = 5

// TestMix runs each case many times. The client deletes the task as soon as Wait is answered.
func TestMix(t *testing.T) {
	n := setUp(t)
	many := func(shim mix.Shim, runs int) []*mix.Summary {
		return n.Many(t.Context(), n.cases(), []mix.Shim{shim}, runs, 2, func(int, int) {})
	}
	all := slices.Concat(many(mix.Stock, min(n.runs, stockRuns)), many(mix.Ours, n.runs))
	for _, shim := range []mix.Shim{mix.Stock, mix.Ours} {
		sum := struct{ cases, runs, ooms, lost, wrong, exitLost, dup, wrongID, status, failed int }{}
		for _, summary := range all {
			if summary.Shim.Name != shim.Name {
				continue
			}
			sum.cases++
			sum.runs += summary.N
			if summary.Case.Want.OOM {
				sum.ooms += summary.N
			}
			sum.lost += summary.Lost()
			sum.wrong += summary.False
			sum.exitLost += summary.N - summary.Exits
			sum.dup += summary.Dup
			sum.wrongID += summary.WrongID
			sum.status += summary.N - summary.Statuses[summary.Case.Want.Status]
			sum.failed += len(summary.Failed)
			t.Log(summary.Line())
			for _, err := range summary.Failed {
				t.Log(err)
			}
		}
		faultkit.Keep(t, fmt.Sprintf("row=mix %s shim=%s cases=%d n=%d ooms=%d oom_lost_or_late=%d false_oom=%d exit_lost=%d twice=%d wrong_id=%d wrong_status=%d failed=%d",
			n.where, shim.Name, sum.cases, sum.runs, sum.ooms, sum.lost, sum.wrong, sum.exitLost, sum.dup, sum.wrongID, sum.status, sum.failed))
	}
	for _, summary := range all {
		if summary.Shim.Name == mix.Ours.Name && !summary.Right() {
			t.Errorf("%s: wrong under oomwitness: %s", n.where, summary.Line())
		}
	}
	require.Zero(t, n.Strangers(), "TaskOOM for a container that nobody made")
}
