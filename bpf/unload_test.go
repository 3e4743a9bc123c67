package bpf_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
)

// TestUnloadElsewhere: a folder that is no ledger keeps all that is in the folder.
func TestUnloadElsewhere(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "current")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	require.ErrorContains(t, bpf.Unload(dir, t.TempDir()), dir+" is not on a BPF filesystem")
	require.FileExists(t, file)
	require.NoError(t, bpf.Unload(filepath.Join(dir, "none"), t.TempDir()))
	require.ErrorContains(t, bpf.Unload(file, t.TempDir()), "is not on a BPF filesystem")
}

// TestUnloadBesideOthers: what others have pinned in the ledger's folder stays, also under a
// name that begins as a generation's. A load leaves them alone too.
func TestUnloadBesideOthers(t *testing.T) {
	b := newBench(t)
	dir := b.opts.Dir
	for _, name := range []string{"globals", "g1_2_x_y"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	_, err := bpf.Load(b.opts)
	require.NoError(t, err)
	require.NoError(t, bpf.Unload(dir, b.opts.LockDir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, e := range entries {
		require.NoError(t, os.Remove(filepath.Join(dir, e.Name())))
	}
	require.NoError(t, bpf.Unload(dir, b.opts.LockDir))
	require.NoDirExists(t, dir)
}
