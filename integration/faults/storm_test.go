//go:build linux

package faults

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestRestartsInStorm kills containerd five times in a row at random moments, some of them
// before containerd has recovered, while many containers are OOM-killed.
func TestRestartsInStorm(t *testing.T) {
	n := setUpShort(t)
	storm := size{pods: 1, each: 5}
	if n.Full {
		storm.pods = 10
	}
	n.Runs = max(n.Runs, storm.pods*storm.each)
	f := n.ContainerdRestarts()
	f.Label = fmt.Sprintf("%s=%d", f.Label, storm.pods*storm.each)
	n.runFault(t, fault{Fault: f, kinds: []faultkit.Kind{faultkit.KindOOM}, size: storm})
}

// tiers are the tiers with which the ledger is loaded, one after the other.
var tiers = []string{"C", "A", "C", "A"}

// TestLedgerUnloaded unloads the ledger and loads it again. OOMs that the cgroup's counters
// show are still reported.
func TestLedgerUnloaded(t *testing.T) {
	n := setUpShort(t)
	n.runFault(t, fault{
		Fault: faultkit.Fault{
			Label:  "ledger-unloaded",
			Strike: func(ctx context.Context) error { return faultkit.Run(ctx, faultkit.Command, "unload") },
			Lasts:  2 * n.Lead,
			Heal:   load,
		},
		size:   many,
		before: load,
		// systemd removes the cgroup, and the counters with it, at any time after the end.
		excuse: func(_ *fleet, m *member) bool {
			return slices.ContainsFunc(faultkit.LogOf(m.id), gone)
		},
	})
}

// TestLedgerReplaced replaces the ledger's programs again and again, which must lose nothing.
func TestLedgerReplaced(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{
		Fault: faultkit.Fault{
			Label: "ledger-replaced",
			Strike: func(ctx context.Context) error {
				for _, tier := range tiers {
					if err := faultkit.Run(ctx, faultkit.Command, "load", "--tier", tier); err != nil {
						return err
					}
					if err := faultkit.Pause(ctx, n.Within(0, time.Second)); err != nil {
						return err
					}
				}
				return nil
			},
			Heal: func(context.Context) error { return nil }, Around: 2 * n.Lead,
		},
		size:   many,
		before: load,
	})
}

func load(ctx context.Context) error { return faultkit.Run(ctx, faultkit.Command, "load") }
