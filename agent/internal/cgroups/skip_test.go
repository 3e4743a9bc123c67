package cgroups_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// mounts are directories to make trees in: of an ordinary file system, and of cgroups
// where the test may make those.
func mounts(t *testing.T) map[string]string {
	t.Helper()
	list := map[string]string{"directories": t.TempDir()}
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-skip-%d", time.Now().UnixNano()))
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Logf("not with cgroups: needs leave to make them: %v", err)
		return list
	}
	t.Cleanup(func() { oomtest.RemoveCgroup(t, parent) })
	list["cgroups"] = parent
	return list
}

// makeDir makes one directory and removes it with the test.
func makeDir(t *testing.T, dir string, mode os.FileMode) uint64 {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, unix.Rmdir(dir)) })
	id, err := bpf.CgroupID(dir)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, mode))
	return id
}

// makeDeep makes directories, one in another, until their path is longer than the
// kernel takes in one call.
func makeDeep(t *testing.T, parent string) {
	t.Helper()
	fd, err := unix.Open(parent, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	name := strings.Repeat("d", 200)
	fds := []int{fd}
	for range unix.PathMax/len(name) + 1 {
		require.NoError(t, unix.Mkdirat(fd, name, 0o755))
		fd, err = unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		fds = append(fds, fd)
	}
	t.Cleanup(func() {
		for i := len(fds) - 1; i >= 0; i-- {
			if i+1 < len(fds) {
				require.NoError(t, unix.Unlinkat(fds[i], name, unix.AT_REMOVEDIR))
			}
			require.NoError(t, unix.Close(fds[i]))
		}
	})
}

// TestSkipped: a cgroup that can't be read costs its own names, and no other's.
func TestSkipped(t *testing.T) {
	for name, mount := range mounts(t) {
		t.Run(name, func(t *testing.T) {
			shut := filepath.Join(mount, "a-shut")
			shutID := makeDir(t, shut, 0o755)
			inner := makeDir(t, filepath.Join(shut, "inner"), 0o755)
			require.NoError(t, os.Chmod(shut, 0))
			t.Cleanup(func() { require.NoError(t, os.Chmod(shut, 0o755)) })
			makeDir(t, filepath.Join(mount, "b-deep"), 0o755)
			makeDeep(t, filepath.Join(mount, "b-deep"))
			other := makeDir(t, filepath.Join(mount, "c-other"), 0o755)
			agenttest.Unprivileged(t)

			tree := &cgroups.Tree{Mount: mount}
			require.NoError(t, tree.Refresh())
			require.Equal(t, "/c-other", nameOf(t, tree, other, time.Now()).Path)
			require.Equal(t, 2, tree.Skipped())

			w := cgroups.NewWatcher(&cgroups.Tree{Mount: mount}, cgroups.WatchOptions{})
			require.NoError(t, w.Start())
			t.Cleanup(func() { stop(w) })
			require.Equal(t, "/c-other", pathOf(t, w, other))
			require.Equal(t, "/a-shut", pathOf(t, w, shutID), "the cgroup itself is in a directory that can be read")
			require.Empty(t, pathOf(t, w, inner))
			require.Equal(t, 2, w.Skipped())
			require.True(t, w.Whole(), "such a cgroup does not have the tree walked each second")

			late := makeDir(t, filepath.Join(mount, "d-late"), 0)
			require.Equal(t, "/d-late", pathOf(t, w, late))
			require.Equal(t, 3, w.Skipped(), "also one that comes later")
			require.NoError(t, os.Chmod(shut, 0o755))
			w.Retry()
			require.Equal(t, "/a-shut/inner", pathOf(t, w, inner), "tried again")
			require.Equal(t, 2, w.Skipped())
		})
	}
}

// TestVanished: cgroups come and go while the tree is walked.
func TestVanished(t *testing.T) {
	for name, mount := range mounts(t) {
		t.Run(name, func(t *testing.T) {
			stays := makeDir(t, filepath.Join(mount, "z-stays"), 0o755)
			stopping, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for i := 0; ; i++ {
					select {
					case <-stopping:
						return
					default:
					}
					dir := filepath.Join(mount, fmt.Sprint(i%8))
					if os.Mkdir(dir, 0o755) == nil {
						_ = os.Mkdir(filepath.Join(dir, "in"), 0o755)
						_ = unix.Rmdir(filepath.Join(dir, "in"))
						_ = unix.Rmdir(dir)
					}
				}
			}()
			t.Cleanup(func() {
				close(stopping)
				<-ended
			})
			tree := &cgroups.Tree{Mount: mount}
			w := cgroups.NewWatcher(&cgroups.Tree{Mount: mount}, cgroups.WatchOptions{})
			require.NoError(t, w.Start())
			t.Cleanup(func() { stop(w) })
			for range 300 {
				require.NoError(t, tree.Refresh())
				w.Inject(overflow())
			}
			require.Equal(t, "/z-stays", nameOf(t, tree, stays, time.Now()).Path)
			require.Equal(t, "/z-stays", pathOf(t, w, stays))
			require.Zero(t, w.Skipped(), "what was removed is not skipped")
		})
	}
}
