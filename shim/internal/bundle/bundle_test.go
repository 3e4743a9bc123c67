//go:build linux

package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// containerd's own note stays; where there is none, it names this program.
func TestTheProgramIsNotedOnce(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, NoteBinary(dir))
	self, err := os.Executable()
	require.NoError(t, err)
	note := func() string {
		data, err := os.ReadFile(filepath.Join(dir, binaryFile))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, self, note())
	require.NoError(t, os.WriteFile(filepath.Join(dir, binaryFile), []byte("/containerd's"), 0o600))
	require.NoError(t, NoteBinary(dir))
	require.Equal(t, "/containerd's", note())
	require.Error(t, NoteBinary(filepath.Join(dir, "none")))
}

// A container that joins a pod gets the note of the pod's first container, in whose bundle the
// shim works.
func TestTheProgramOfThePodIsNoted(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile(binaryFile, []byte("/a link"), 0o600))
	dir := t.TempDir()
	require.NoError(t, NoteBinary(dir))
	data, err := os.ReadFile(filepath.Join(dir, binaryFile))
	require.NoError(t, err)
	require.Equal(t, "/a link", string(data))
}
