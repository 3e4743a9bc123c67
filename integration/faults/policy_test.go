//go:build linux

package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/oom"
)

// shownCode is the exit status that the test's pods ask for after an OOM.
const shownCode = 217

// TestPolicy has pods with annotations, which CRI passes to the shim by pod_annotations: for
// the exit status of an OOM, for memory.oom.group, and for something that is not allowed.
func TestPolicy(t *testing.T) {
	n := setUpShort(t)
	if n.shim == "stock" {
		t.Skip("needs our shim: the stock one knows no annotations")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience)
	defer cancel()
	n.exitCodes(ctx, t)
	n.groups(ctx, t)
	_, err := n.newPod(ctx, "refused", "oomwitness.io/oom-exit-code", "256")
	require.ErrorContains(t, err, "oomwitness.io/oom-exit-code")
	require.ErrorContains(t, err, "256")
	faultkit.Keep(t, fmt.Sprintf("fault=policy-refused %s shim=%s kind=pod n=1 right=1", n.where, n.shim))
}

// exitCodes wants the pod's own status after an OOM, and the true status of each other exit.
func (n *node) exitCodes(ctx context.Context, t *testing.T) {
	t.Helper()
	fl := n.newFleet(t, size{pods: 1, each: min(n.Runs, many.each)}, faultkit.Kinds, "oomwitness.io/oom-exit-code", strconv.Itoa(shownCode))
	for _, m := range fl.members {
		if m.Reason == faultkit.OOMKilled {
			m.Code = shownCode
		}
	}
	look := fl.look(ctx)
	require.NoError(t, each(fl.members, func(m *member) error { return fl.fire(ctx, m) }))
	<-look
	n.settle(t, fl)
	right := 0
	for _, m := range fl.members {
		if assert.Empty(t, m.judge(m.last), "%s %s, want %s %d", m.Name, m.id, m.Reason, m.Code) &&
			assert.Empty(t, m.judge(m.first), "%s %s at first sight, want %s %d", m.Name, m.id, m.Reason, m.Code) {
			right++
		}
	}
	faultkit.Keep(t, fmt.Sprintf("fault=policy-exit-code %s shim=%s kind=all n=%d right=%d", n.where, n.shim, len(fl.members), right))
}

// groups wants memory.oom.group as the pod's annotation says. cgroup v1 has no such file, and
// there the pod is refused.
func (n *node) groups(ctx context.Context, t *testing.T) {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	if h.Version == 1 {
		_, err := n.newPod(ctx, "group-refused", "oomwitness.io/oom-group", "true")
		require.ErrorContains(t, err, "oomwitness.io/oom-group")
		faultkit.Keep(t, fmt.Sprintf("fault=policy-group-refused %s shim=%s kind=pod n=1 right=1", n.where, n.shim))
		return
	}
	for value, want := range map[string]string{"true": "1", "false": "0"} {
		fl := n.newFleet(t, size{pods: 1, each: 1}, []faultkit.Kind{faultkit.KindOOM}, "oomwitness.io/oom-group", value)
		dir, err := h.PathOf(fl.members[0].pid)
		require.NoError(t, err)
		text, err := os.ReadFile(filepath.Join(h.Mount, dir, "memory.oom.group"))
		require.NoError(t, err)
		require.Equal(t, want, strings.TrimSpace(string(text)), "memory.oom.group with oom-group=%s", value)
		require.NoError(t, fl.fire(ctx, fl.members[0]))
		faultkit.Keep(t, fmt.Sprintf("fault=policy-group-%s %s shim=%s kind=pod n=1 right=1", value, n.where, n.shim))
	}
}

// annotated returns the pod with annotations; pairs has names and values by turns.
func annotated(p cri.Pod, pairs []string) cri.Pod {
	p.Annotations = map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		p.Annotations[pairs[i]] = pairs[i+1]
	}
	return p
}
