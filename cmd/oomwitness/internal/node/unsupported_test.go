package node_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// untouched wants an error of a node that is as before, and stays without the shim.
func (f *fakeNode) untouched(t *testing.T, err error) {
	t.Helper()
	var unsupported *node.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	for _, name := range []string{"usr/local/bin", "etc/containerd/conf.d", "etc/oomwitness"} {
		require.False(t, f.exists(name), name)
	}
}

// TestSetupOfFilesThatTakeNoShim: one such node does not hold up a cluster.
func TestSetupOfFilesThatTakeNoShim(t *testing.T) {
	settings := "grace = \"4s\"\n"
	for want, change := range map[string]func(f *fakeNode){
		"containerd 1.7 does not know it yet": func(f *fakeNode) {
			f.put(t, "etc/containerd/config.toml", "version = 2\n")
			f.Install.ContainerdVersion = "1.7"
		},
		"containerd 1.5 cannot be served": func(f *fakeNode) { f.Install.ContainerdVersion = "1.5" },
		"was not written by oomwitness install": func(f *fakeNode) {
			f.put(t, "etc/containerd/conf.d/oomwitness.toml", "version = 3\n")
		},
		"expected '=' after key": func(f *fakeNode) { f.put(t, "etc/containerd/config.toml", "not [ TOML") },
	} {
		f := newFake(t, change)
		f.Install.Settings = &settings
		err := f.Setup(t.Context())
		require.ErrorContains(t, err, want)
		require.NotContains(t, f.steps, restart)
		if want != "was not written by oomwitness install" {
			f.untouched(t, err)
		}
	}
}

// TestSetupWhileContainerdIsBusy: a containerd that does not answer now makes no node
// unsupported, since such a node is left for good.
func TestSetupWhileContainerdIsBusy(t *testing.T) {
	busy := preflight.Finding{Name: "containerd", Status: preflight.Fail, Found: "does not answer", Do: "wait", Transient: true}
	f := newFake(t)
	f.findings = []preflight.Finding{busy}
	err := f.Setup(t.Context())
	require.EqualError(t, err, "this node cannot be set up now: containerd: does not answer; wait")
	var unsupported *node.UnsupportedError
	require.NotErrorAs(t, err, &unsupported)
	f.findings = []preflight.Finding{busy, {Name: "cgroup", Status: preflight.Fail, Found: "hybrid", Do: "boot otherwise"}}
	require.ErrorAs(t, f.Setup(t.Context()), &unsupported)
}

func TestUnsupported(t *testing.T) {
	var unsupported *node.UnsupportedError
	require.ErrorAs(t, node.Unsupported(errors.New("no containerd")), &unsupported)
	require.NotErrorAs(t, node.Unsupported(fmt.Errorf("containerd config dump: %w", rootfs.ErrSlow)), &unsupported)
}
