package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinksNothingHeavy: what the shim links is paid for once per pod on the node. Of
// github.com/cilium/ebpf the shim links declarations alone.
func TestLinksNothingHeavy(t *testing.T) {
	args := append([]string{"list", "-deps"}, append(flags(t), ".")...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "github.com/oomwitness/oomwitness/shim\n")
	for line := range strings.Lines(string(out)) {
		require.False(t, strings.Contains(line, "k8s.io/") || strings.HasPrefix(line, "github.com/spf13/cobra") ||
			strings.HasPrefix(line, "google.golang.org/grpc\n") || line == "log/slog\n" || line == "crypto/sha1\n" || strings.HasPrefix(line, "debug/") ||
			strings.HasPrefix(line, "github.com/cilium/ebpf/btf") || strings.HasPrefix(line, "github.com/cilium/ebpf/internal"), line)
	}
}
