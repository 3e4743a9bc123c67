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

// node is what a line of the matrix is about.
type node struct {
	*mix.Runner
	where string
	v1    bool // cgroup v1
	runs  int  // of each case
}

// setUp has the containerd run that the environment names.
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

// cases are those of make compare that the node's kernel can have: cgroup v1 has
// no memory.oom.group.
func (n node) cases() []mix.Case {
	return slices.DeleteFunc(mix.Mix(), func(c mix.Case) bool { return n.v1 && c.Unified != nil })
}

// stockRuns bounds the runs of the stock shim, which show what the case would find.
// make compare counts the faults of that shim.
const stockRuns = 5

// TestMix runs each case many times, with a client that waits and deletes at once.
func TestMix(t *testing.T) {
	n := setUp(t)
	many := func(shim mix.Shim, runs int) []*mix.Tally {
		return n.Many(t.Context(), n.cases(), []mix.Shim{shim}, runs, 2, func(int, int) {})
	}
	all := slices.Concat(many(mix.Stock, min(n.runs, stockRuns)), many(mix.Ours, n.runs))
	for _, shim := range []mix.Shim{mix.Stock, mix.Ours} {
		sum := struct{ cases, runs, ooms, lost, wrong, exitLost, dup, wrongID, status, failed int }{}
		for _, tally := range all {
			if tally.Shim.Name != shim.Name {
				continue
			}
			sum.cases++
			sum.runs += tally.N
			if tally.Case.Want.OOM {
				sum.ooms += tally.N
			}
			sum.lost += tally.Lost()
			sum.wrong += tally.False
			sum.exitLost += tally.N - tally.Exits
			sum.dup += tally.Dup
			sum.wrongID += tally.WrongID
			sum.status += tally.N - tally.Statuses[tally.Case.Want.Status]
			sum.failed += len(tally.Failed)
			t.Log(tally.Line())
			for _, err := range tally.Failed {
				t.Log(err)
			}
		}
		faultkit.Keep(t, fmt.Sprintf("row=mix %s shim=%s cases=%d n=%d ooms=%d oom_lost_or_late=%d false_oom=%d exit_lost=%d twice=%d wrong_id=%d wrong_status=%d failed=%d",
			n.where, shim.Name, sum.cases, sum.runs, sum.ooms, sum.lost, sum.wrong, sum.exitLost, sum.dup, sum.wrongID, sum.status, sum.failed))
	}
	for _, tally := range all {
		if tally.Shim.Name == mix.Ours.Name && !tally.Right() {
			t.Errorf("%s: wrong under oomwitness: %s", n.where, tally.Line())
		}
	}
	require.Zero(t, n.Strangers(), "TaskOOM for a container that nobody made")
}
