//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestFirstSight checks the words of the CRI definition: the reason is OOMKilled for a
// container that the OOM killer has ended, and for no other. The reason must be right from the
// runtime's own event of the end on; no client can ask earlier.
func TestFirstSight(t *testing.T) {
	n := setUpShort(t)
	if faultkit.Version() == "1.6" {
		t.Skip("needs CRI's container events, which containerd has from 1.7 on")
	}
	fl := n.newFleet(t, many.upTo(max(n.Runs, many.each)), faultkit.Kinds)
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience)
	defer cancel()
	ends, err := n.cri.Ends(ctx)
	require.NoError(t, err)

	var wg sync.WaitGroup
	errs := make([]error, len(fl.members))
	for i, m := range fl.members {
		wg.Go(func() { errs[i] = fl.fire(ctx, m) })
	}
	ours := func(id string) bool { // events of the previous test may still arrive
		return slices.ContainsFunc(fl.members, func(m *member) bool { return m.id == id })
	}
	first := map[string]cri.End{}
	for len(first) < len(fl.members) {
		end, open := <-ends
		require.True(t, open, "the events ended with %d of %d ends", len(first), len(fl.members))
		if _, seen := first[end.ID]; !seen && ours(end.ID) {
			first[end.ID] = end
		}
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	right := map[string]int{}
	for _, m := range fl.members {
		end := first[m.id]
		ok := end.Reason == m.Reason && end.Code == m.Code
		if n.shim != "stock" {
			assert.True(t, ok, "%s %s: first seen as %s %d, want %s %d", m.Name, m.id, end.Reason, end.Code, m.Reason, m.Code)
		}
		if ok {
			right[m.Name]++
		}
	}
	for _, k := range faultkit.Kinds {
		faultkit.Keep(t, fmt.Sprintf("fault=first-sight %s shim=%s kind=%s n=%d right=%d",
			n.where, n.shim, k.Name, len(fl.members)/len(faultkit.Kinds), right[k.Name]))
	}
}
