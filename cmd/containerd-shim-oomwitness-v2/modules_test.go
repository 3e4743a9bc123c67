package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestModules runs the tests of the modules that decorate others, which need the go.mod that
// the shim is built with.
func TestModules(t *testing.T) {
	args := append([]string{"test", "-count=1", "-race"}, append(flags(t), "github.com/containerd/fifo", "github.com/containerd/log", "github.com/mdlayher/vsock")...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "no test files")
}
