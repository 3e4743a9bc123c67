package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinksNothingHeavy: what the shim links is paid for once per pod on the node. Of
// github.com/cilium/ebpf the shim links declarations alone.
func TestLinksNothingHeavy(t *testing.T) {
	packages := linked(t)
	require.Contains(t, packages, "github.com/oomwitness/oomwitness/shim")
	for _, pkg := range packages {
		require.False(t, strings.Contains(pkg, "k8s.io/") || strings.HasPrefix(pkg, "github.com/spf13/cobra") ||
			pkg == "google.golang.org/grpc" || pkg == "log/slog" || pkg == "crypto/sha1" || strings.HasPrefix(pkg, "debug/") ||
			strings.HasPrefix(pkg, "github.com/cilium/ebpf/btf") || strings.HasPrefix(pkg, "github.com/cilium/ebpf/internal"), pkg)
	}
}
