package install

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherName: the kernel cuts the shim's name off.
func TestOtherName(t *testing.T) {
	for comm, want := range map[string]bool{"containerd-shim\n": false, "containerd\n": true, "sh\n": true} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm), 0o644))
		require.Equal(t, want, otherName(dir), comm)
	}
	require.False(t, otherName(t.TempDir()), "nobody knows")
}
