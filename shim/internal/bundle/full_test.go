//go:build linux

package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFullDisk: what does not fit leaves no part of itself in the bundle.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	filler := filepath.Join(dir, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, os.Getpagesize()), 0o600))
	require.ErrorIs(t, NoteBinary(dir), unix.ENOSPC)
	require.ErrorIs(t, ReplaceFile(filepath.Join(dir, "record"), []byte("{}"), 0o600), unix.ENOSPC)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.NoError(t, os.Remove(filler))
	require.NoError(t, NoteBinary(dir))
}
