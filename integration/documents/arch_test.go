package documents

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArch: make names the architectures that a guest can have.
func TestArch(t *testing.T) {
	for _, target := range []string{"build", "demo"} {
		cmd := exec.CommandContext(t.Context(), "make", "-n", target, "ARCH=foo")
		cmd.Dir = Root
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "ARCH=foo: allowed are amd64 and arm64")
	}
}
