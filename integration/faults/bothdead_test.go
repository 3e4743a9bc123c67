//go:build linux

package faults

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// kindLost is OOM-killed, and its task is gone when CRI asks for it: the status
// and the time are what CRI puts where it has none.
var kindLost = faultkit.Kind{Name: "oom", Code: 255, Reason: faultkit.OOMKilled, Mode: "hog", Lost: true}

// TestShimAndContainerdKilled has containers OOM-killed while their shim cannot
// look and containerd is dead, and kills the shim then: the containerd that comes
// back has nobody to ask, and takes no events while it cleans up.
func TestShimAndContainerdKilled(t *testing.T) {
	n := setUp(t)
	f := fault{
		Fault: faultkit.Fault{Label: "shim-and-containerd-killed"},
		kinds: []faultkit.Kind{kindLost},
	}
	n.repeat(t, f, n.killBoth)
}

func (n *node) killBoth(t *testing.T, f fault, now size, sum tally) {
	t.Helper()
	fl := n.newFleet(t, now, f.kinds)
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience)
	defer cancel()
	require.NoError(t, n.events.sync(ctx))
	require.NoError(t, faultkit.KillContainerd(ctx))
	look := fl.look(ctx)
	require.NoError(t, fl.orphanAll(ctx, t, n.Lead, killShim))
	require.NoError(t, faultkit.Release(ctx))
	require.NoError(t, n.ready(ctx))
	<-look
	if n.shim != "stock" {
		require.NoError(t, faultkit.Until(ctx, "the deferred publisher", func() error { return fl.allTold(ctx) }))
	}
	n.settle(t, fl)
	for _, m := range fl.members {
		sum.add(fl, f, m)
	}
}

// allTold returns an error while CRI has not received each OOM-killed container's OOM.
// What tells of it is not waited for by anyone.
func (fl *fleet) allTold(ctx context.Context) error {
	for _, m := range fl.members {
		if m.Reason != faultkit.OOMKilled {
			continue
		}
		s, err := fl.n.cri.Status(ctx, m.id)
		if err != nil {
			return err
		}
		if s == nil || s.Reason != faultkit.OOMKilled {
			return fmt.Errorf("CRI says %+v of %s", s, m.id)
		}
	}
	return nil
}
