package main

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStreams runs the tests of streams, which needs the go.mod that the shim is built with.
func TestStreams(t *testing.T) {
	args := append([]string{"test", "-count=1", "-race"}, append(flags(t), "github.com/containerd/fifo")...)
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
