package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoClientset: the agent on each node is this program. All groups of the API would double
// its size (docs/scale.md).
func TestNoClientset(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	linked := strings.Fields(string(out))
	require.Contains(t, linked, "k8s.io/client-go/rest")
	require.Empty(t, slices.DeleteFunc(linked, func(pkg string) bool { return !strings.HasPrefix(pkg, "k8s.io/client-go/kubernetes") }))
}
