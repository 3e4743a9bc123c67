package preflight_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
)

// TestNamedVersion: the check uses the version that the operator names.
func TestNamedVersion(t *testing.T) {
	n := newNode(t)
	n.block("1.7.35")
	n.version, n.named = "v2.4.2", "1.7"
	found := map[string]preflight.Finding{}
	for _, f := range n.report().Findings {
		found[f.Name] = f
	}
	require.Equal(t, "1.7 (--containerd-version; here is v2.4.2)", found["containerd-version"].Found)
	require.Equal(t, preflight.OK, found["drop-in"].Status, "the block: %+v", found["drop-in"])

	n = newNode(t)
	n.version = "v2.5.0"
	for _, f := range n.report().Findings {
		if f.Name == "containerd-version" {
			require.Equal(t, preflight.OK, f.Status)
			require.Equal(t, "containerd v2.5.0 is not tested (1.6 to 2.4 are), and is treated as 2.4", f.Found)
		}
	}
}

// TestUnprivileged: what is not there for another user may be there for root.
func TestUnprivileged(t *testing.T) {
	for _, unprivileged := range []bool{true, false} {
		n := newNode(t)
		n.notRunning()
		n.remove("/usr/bin/containerd", "/usr/bin/runc", dropinPath, shimPath)
		n.unprivileged = unprivileged
		for _, f := range n.report().Findings {
			switch f.Name {
			case "containerd-version", "runc", "shim", "drop-in":
				require.NotEmpty(t, f.Do)
				require.Equal(t, unprivileged, strings.HasPrefix(f.Do, "run this command as root, "), "%+v", f)
			}
		}
	}
}
