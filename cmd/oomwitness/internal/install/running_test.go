package install

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherName: the kernel truncates the shim's name.
func TestOtherName(t *testing.T) {
	for comm, want := range map[string]bool{"containerd-shim\n": false, "containerd\n": true, "sh\n": true} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "comm"), []byte(comm), 0o644))
		require.Equal(t, want, otherName(dir), comm)
	}
	require.False(t, otherName(t.TempDir()), "nobody knows")
}

// TestRemoveStale: files of a killed install are removed by the next install or by uninstall.
func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	for name, stays := range map[string]bool{".shim.1.tmp": false, ".other.1.tmp": true, ".shim.tmp": true} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		removeStale(filepath.Join(dir, "shim"))
		_, err := os.Stat(file)
		require.Equal(t, stays, err == nil, name)
	}
}
