package bpf_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
)

// TestForeignFolder: on a BPF file system with a folder for all, a user was there before root.
// Nothing is loaded into that folder, read from it or removed from it.
func TestForeignFolder(t *testing.T) {
	needRoot(t)
	const user = 65534
	root := t.TempDir()
	require.NoError(t, unix.Mount("bpf", root, "bpf", 0, "mode=1777"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(root, unix.MNT_DETACH)) })
	dir := filepath.Join(root, "oomwitness")
	for name, make := range map[string]func(*testing.T){
		"a folder of the user's": func(t *testing.T) {
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.Chown(dir, user, user))
		},
		"a link of the user's": func(t *testing.T) {
			other := filepath.Join(root, "other")
			require.NoError(t, errors.Join(os.Mkdir(other, 0o700), os.Symlink(other, dir)))
			require.NoError(t, os.Lchown(dir, user, user))
			t.Cleanup(func() { require.NoError(t, os.Remove(other)) })
		},
		"a folder that all can write": func(t *testing.T) {
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.Chmod(dir, 0o777))
		},
	} {
		t.Run(name, func(t *testing.T) {
			make(t)
			defer os.Remove(dir)
			opts := bpf.Options{Dir: dir, LockDir: t.TempDir()}
			_, err := bpf.Load(opts)
			require.ErrorIs(t, err, bpf.ErrForeign)
			require.ErrorContains(t, err, dir)
			_, err = bpf.Open(dir)
			require.ErrorIs(t, err, bpf.ErrForeign)
			require.ErrorIs(t, bpf.Unload(dir, opts.LockDir), bpf.ErrForeign)
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}
