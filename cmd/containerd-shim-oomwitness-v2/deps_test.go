package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinksNothingHeavy: what the shim links is paid for once per pod on the node.
func TestLinksNothingHeavy(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "no_grpc", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "github.com/oomwitness/oomwitness/shim\n")
	for line := range strings.Lines(string(out)) {
		require.False(t, strings.Contains(line, "k8s.io/") || strings.HasPrefix(line, "github.com/spf13/cobra") ||
			strings.HasPrefix(line, "google.golang.org/grpc\n"), line)
	}
}
