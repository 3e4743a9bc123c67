//go:build linux

package faults

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// kindLost is OOM-killed, and its task is gone when CRI asks for it: CRI makes up the status
// and the time.
var kindLost = faultkit.Kind{Name: "oom", Code: 255, Reason: faultkit.OOMKilled, Mode: "hog", Lost: true}

// TestShimAndContainerdKilled has containers OOM-killed while their shim is stopped and
// containerd is dead. Then it kills the shim. The next containerd finds no shim, and takes no
// events while it cleans up.
func TestShimAndContainerdKilled(t *testing.T) {
	n := setUp(t)
	f := fault{
		Fault: faultkit.Fault{Label: "shim-and-containerd-killed"},
		kinds: []faultkit.Kind{kindLost},
	}
	n.repeat(t, f, n.killBoth)
}

func (n *node) killBoth(t *testing.T, f fault, now size, sum summary) {
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
		require.NoError(t, faultkit.Until(ctx, "the deferred publisher", func() error { return fl.allReported(ctx) }))
	}
	n.settle(t, fl)
	for _, m := range fl.members {
		sum.add(fl, f, m)
	}
}

// allReported returns an error while CRI has not received the OOM of each OOM-killed container.
// Nothing waits for the deferred publisher, so the test asks again and again.
func (fl *fleet) allReported(ctx context.Context) error {
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
