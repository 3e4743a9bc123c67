package exits

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFullDisk: an exit that does not fit costs no other exit.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small file system")
	}
	dir, page := t.TempDir(), os.Getpagesize()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8k"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	filler := filepath.Join(dir, "filler")
	require.NoError(t, os.WriteFile(filler, make([]byte, page), 0o600))
	almost := bytes.Repeat([]byte("\n"), page-100) // room for a part of a line
	require.NoError(t, os.WriteFile(filepath.Join(dir, currentFile), almost, 0o600))

	require.ErrorIs(t, Append(dir, exitAt(1)), unix.ENOSPC)
	require.NoError(t, os.Remove(filler))
	require.NoError(t, Append(dir, exitAt(2)))
	list, damaged, err := Read(dir)
	require.NoError(t, err)
	require.Zero(t, damaged)
	require.Equal(t, []string{"c2"}, ids(list))
}
