//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// kindOrphan is OOM-killed as any, but CRI's Wait breaks with the shim, and then
// it says 255 by itself.
var kindOrphan = faultkit.Kind{Name: "oom", Code: 255, Reason: faultkit.OOMKilled, Mode: "hog"}

// TestShimKilled has containers OOM-killed while their shim cannot look, and
// then kills the shim: what it would have said is for the binary to say that
// containerd runs with "delete". A containerd that has restarted finds that
// binary in another way.
func TestShimKilled(t *testing.T) {
	n := setUp(t)
	for _, restarted := range []bool{false, true} {
		f := fault{Fault: faultkit.Fault{Label: fmt.Sprintf("shim-killed containerd-restarted=%t", restarted)}}
		t.Run(fmt.Sprintf("restarted-%t", restarted), func(t *testing.T) {
			sum := newTally()
			for left := n.Runs; left > 0; left -= most {
				t.Run("cycle", func(t *testing.T) { n.killShims(t, f, min(left, most), restarted, sum) })
			}
			sum.report(t, n, f)
		})
	}
}

func (n *node) killShims(t *testing.T, f fault, pods int, restarted bool, sum tally) {
	t.Helper()
	fl := n.newFleet(t, pods, []faultkit.Kind{kindOrphan})
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience)
	defer cancel()
	if restarted {
		require.NoError(t, faultkit.RestartKilled(ctx))
		require.NoError(t, n.ready(ctx))
	}
	require.NoError(t, n.events.sync(ctx))
	look := fl.look(ctx)
	errs := make([]error, len(fl.members))
	var wg sync.WaitGroup
	for i, m := range fl.members {
		shim, after := shimPid(t, m.pod), n.Within(0, time.Second)
		wg.Go(func() { errs[i] = fl.killShim(ctx, m, shim, after) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	<-look
	n.settle(t, fl)
	for _, m := range fl.members {
		sum.add(fl, f, m)
	}
}

// killShim ends a container behind the back of its shim, and the shim after it.
func (fl *fleet) killShim(ctx context.Context, m *member, shim int, after time.Duration) error {
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop shim %d: %w", shim, err)
	}
	if err := fl.fire(ctx, m); err != nil {
		return err
	}
	select {
	case <-m.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := faultkit.Pause(ctx, after); err != nil {
		return err
	}
	if err := unix.Kill(shim, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill shim %d: %w", shim, err)
	}
	return nil
}
