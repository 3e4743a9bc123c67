//go:build linux

package faults

import (
	"context"
	"slices"
	"testing"
	"time"
)

// restarts is how often containerd is killed in a row.
const restarts = 5

// TestRestartsInStorm kills containerd five times in a row, as it pleases also
// before it has recovered, while many containers are OOM-killed.
func TestRestartsInStorm(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{
		label: "containerd-restarts=5 storm",
		kinds: slices.Repeat([]kind{kindOOM}, 5),
		strike: func(ctx context.Context) error {
			for range restarts {
				if err := restartKilled(ctx); err != nil {
					return err
				}
				if err := pause(ctx, n.within(0, n.lead)); err != nil {
					return err
				}
			}
			return nil
		},
		heal: none, around: restarts * n.lead,
	})
}

func none(context.Context) error { return nil }

// tiers are the forms of the ledger that take each other's place.
var tiers = []string{"C", "A", "C", "A"}

// TestLedgerUnloaded takes the ledger away, and brings it back. What the
// cgroup's counters can tell is still told.
func TestLedgerUnloaded(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{
		label:  "ledger-unloaded",
		before: func(ctx context.Context) error { return run(ctx, command, "load") },
		strike: func(ctx context.Context) error { return run(ctx, command, "unload") },
		lasts:  2 * n.lead,
		heal:   func(ctx context.Context) error { return run(ctx, command, "load") },
		// systemd removes the cgroup, and the counters with it, when it pleases.
		excuse: func(_ *fleet, m *member) bool {
			return slices.ContainsFunc(logOf(m.id), gone)
		},
	})
}

// TestLedgerReplaced has its programs replaced again and again, which loses
// nothing.
func TestLedgerReplaced(t *testing.T) {
	n := setUp(t)
	n.runFault(t, fault{
		label:  "ledger-replaced",
		before: func(ctx context.Context) error { return run(ctx, command, "load") },
		strike: func(ctx context.Context) error {
			for _, tier := range tiers {
				if err := run(ctx, command, "load", "--tier", tier); err != nil {
					return err
				}
				if err := pause(ctx, n.within(0, time.Second)); err != nil {
					return err
				}
			}
			return nil
		},
		heal: none, around: 2 * n.lead,
	})
}
