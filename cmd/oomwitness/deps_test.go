package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoClientset: each node's agent is this program, and all groups of the API would
// make it twice as large (docs/scale.md).
func TestNoClientset(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	linked := strings.Fields(string(out))
	require.Contains(t, linked, "k8s.io/client-go/rest")
	require.Empty(t, slices.DeleteFunc(linked, func(pkg string) bool { return !strings.HasPrefix(pkg, "k8s.io/client-go/kubernetes") }))
}
