package install_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestLockIsGivenUp: an install that waits for another one can be interrupted, and has written
// nothing.
func TestLockIsGivenUp(t *testing.T) {
	o := tree(t)
	dir, err := os.Open(string(o.Root))
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, unix.Flock(int(dir.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = install.Install(ctx, o)
	require.ErrorContains(t, err, "another install or uninstall works there: context deadline exceeded")
	require.Empty(t, files(t, o.Root))

	require.NoError(t, unix.Flock(int(dir.Fd()), unix.LOCK_UN))
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
}

// TestLockComesTooLate: an install that was interrupted before it began blames nobody.
func TestLockComesTooLate(t *testing.T) {
	o := tree(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := install.Install(ctx, o)
	require.EqualError(t, err, "lock "+string(o.Root)+": context canceled")
	require.Empty(t, files(t, o.Root))
}

// TestLockEndsWithTheChange: a child that was forked during an install, and has not reached its
// execve, has a copy of each descriptor. The install has ended all the same.
func TestLockEndsWithTheChange(t *testing.T) {
	o := tree(t)
	find, copies := o.Find, 0
	o.Find = func(ctx context.Context) (containerd.Daemon, error) {
		copies += copyDescriptors(t, string(o.Root))
		return find(ctx)
	}
	_, err := install.Install(t.Context(), o)
	require.NoError(t, err)
	require.NotZero(t, copies, "the lock is a descriptor of the root")

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = install.Uninstall(ctx, o)
	require.NoError(t, err)
}

// copyDescriptors makes a copy of each descriptor of the path that this process has, until the
// test ends, and returns how many.
func copyDescriptors(t *testing.T, path string) (n int) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err != nil || target != path {
			continue
		}
		fd, err := strconv.Atoi(entry.Name())
		require.NoError(t, err)
		fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		n++
	}
	return n
}
