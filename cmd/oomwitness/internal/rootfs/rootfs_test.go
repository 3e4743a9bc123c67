package rootfs_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

func TestPathKeepsLinksInsideTheRoot(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "var/usrlocal/bin"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr"), 0o755))
	for link, target := range map[string]string{
		"usr/local": "../var/usrlocal", // as on an image-based system
		"abs":       "/var/usrlocal",
		"up":        "../../../../../../var",
		"loop":      "loop",
		"pair":      "abs/../usrlocal",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
	}
	dir := rootfs.Dir(root)
	for in, want := range map[string]string{
		"/usr/local/bin/x":     "/var/usrlocal/bin/x",
		"/abs/bin/x":           "/var/usrlocal/bin/x",
		"/up/usrlocal/new":     "/var/usrlocal/new",
		"/pair/bin":            "/var/usrlocal/bin",
		"/no/such/dir":         "/no/such/dir",
		"/../../etc/passwd":    "/etc/passwd",
		"usr/local":            "/var/usrlocal",
		"/loop/x":              "/loop/x",
		"/usr/local/../y":      "/usr/y",
		"/usr/local/bin/../..": "/usr",
	} {
		require.Equal(t, filepath.Join(root, want), dir.Path(in), "path %s", in)
	}
}

func TestRunningSystem(t *testing.T) {
	for _, dir := range []rootfs.Dir{"", "/", "//"} {
		require.True(t, dir.Running())
		require.Equal(t, "/etc/hosts", dir.Path("/etc/hosts"))
	}
	require.False(t, rootfs.Dir("/mnt").Running())
}

func TestLookPathWantsAnExecutableFile(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a/runc"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "b"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "c"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "b/runc"), nil, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "c/runc"), nil, 0o755))
	dir := rootfs.Dir(root)
	require.Equal(t, "/c/runc", dir.LookPath("runc", []string{"/a", "/b", "/c"}))
	require.Empty(t, dir.LookPath("runc", []string{"/a", "/b"}))
	require.Equal(t, "/c/runc", dir.LookPath("/c/runc", nil))
	require.Empty(t, dir.LookPath("/b/runc", nil))
}

func TestGlobIsAbsoluteInside(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/conf.d"), 0o755))
	for _, name := range []string{"b.toml", "a.toml", "c.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/conf.d", name), nil, 0o644))
	}
	matches, err := rootfs.Dir(root).Glob("/etc/conf.d/*.toml")
	require.NoError(t, err)
	require.Equal(t, []string{"/etc/conf.d/a.toml", "/etc/conf.d/b.toml"}, matches)
}

// TestGlobKeepsLinksInsideTheRoot: a folder that is an absolute link is the tree's, and not
// that of the machine.
func TestGlobKeepsLinksInsideTheRoot(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "machine.toml"), nil, 0o644))
	inTree := filepath.Join(root, outside)
	require.NoError(t, os.MkdirAll(inTree, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(inTree, "tree.toml"), nil, 0o644))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "conf.d")))
	for _, pattern := range []string{"/conf.d/*.toml", "/c*/*.toml", "/conf.d/tree.toml"} {
		matches, err := rootfs.Dir(root).Glob(pattern)
		require.NoError(t, err)
		require.Equal(t, []string{"/conf.d/tree.toml"}, matches, pattern)
	}
	matches, err := rootfs.Dir(root).Glob("/conf.d/machine.toml")
	require.NoError(t, err)
	require.Empty(t, matches)
}

// TestReadFile: a file that would block its reader, or has no end, is refused.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	root := rootfs.Dir(dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600))
	data, err := root.ReadFile("/file")
	require.NoError(t, err)
	require.Equal(t, "text", string(data))

	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), make([]byte, 16<<20+1), 0o600))
	for name, want := range map[string]string{"/fifo": "is not a regular file", "/": "is not a regular file", "/large": "is larger than"} {
		_, err := root.ReadFile(name)
		require.ErrorContains(t, err, want, name)
	}
	_, err = root.ReadFile("/none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestRun: a program that prints without end, or does not end, is ended.
func TestRun(t *testing.T) {
	run := func(ctx context.Context, script string) (string, error) {
		return rootfs.Dir("/").Run(ctx, rootfs.Program{Path: "/bin/sh"}, "-c", script)
	}
	out, err := run(t.Context(), "echo text; echo other >&2")
	require.NoError(t, err)
	require.Equal(t, "text\n", out)
	_, err = run(t.Context(), "echo first >&2; echo last >&2; exit 3")
	require.EqualError(t, err, "exit status 3: last")
	for _, script := range []string{"exec yes", "exec yes >&2"} {
		out, err = run(t.Context(), script)
		require.EqualError(t, err, "it printed more than 16777216 bytes", script)
		require.LessOrEqual(t, len(out), 16<<20)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = run(ctx, "exec sleep 1000")
	require.ErrorIs(t, err, context.Canceled)
}
