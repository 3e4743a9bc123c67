package cgroups_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

const session = "user.slice/user-1000.slice/user@1000.service"

// makePods makes the cgroups of n pods with one container each.
func makePods(t *testing.T, tree *cgroups.Tree, name string, n int) (ids []uint64) {
	t.Helper()
	for i := range n {
		pod := fmt.Sprintf("kubepods.slice/kubepods-pod%s%d.slice", name, i)
		ids = append(ids, mkdir(t, tree, pod), mkdir(t, tree, fmt.Sprintf("%s/cri-containerd-%064x.scope", pod, i)))
	}
	return ids
}

// flood makes n cgroups below one.
func flood(t *testing.T, tree *cgroups.Tree, parent string, n int) {
	t.Helper()
	dir := filepath.Join(tree.Mount, parent)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i := range n {
		require.NoError(t, os.Mkdir(fmt.Sprintf("%s/%d", dir, i), 0o755))
	}
}

// inMemory is a directory that takes many others in no time, where there is one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "oomwitness-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func known(t *testing.T, name func(uint64, time.Time) (cgroups.Name, error), ids []uint64) (n int) {
	t.Helper()
	for _, id := range ids {
		got, err := name(id, time.Now())
		require.NoError(t, err)
		if got.Path != "" {
			n++
		}
	}
	return n
}

// TestManyCgroupsOfOneUser: they cost that user names, and nobody else.
func TestManyCgroupsOfOneUser(t *testing.T) {
	for name, parent := range map[string]string{
		"a user":           session,
		"a container":      "kubepods.slice/kubepods-podevil.slice/cri-containerd-" + id + ".scope",
		"a unit":           "system.slice/ci.service",
		"top of hierarchy": "lxc/c1",
		"a guest of LXC":   "lxc.payload.c1",
	} {
		t.Run(name, func(t *testing.T) {
			many := 10_000
			if parent == session {
				many = 80_000
			}
			tree := &cgroups.Tree{Mount: inMemory(t)}
			before := makePods(t, tree, "before", 50)
			flood(t, tree, parent, many)
			after := makePods(t, tree, "after", 50)
			service := mkdir(t, tree, "system.slice/ssh.service")
			all := append(append(before, after...), service)
			require.NoError(t, tree.Refresh())
			require.Equal(t, len(all), known(t, tree.Name, all))
			require.GreaterOrEqual(t, tree.Skipped(), many-cgroups.DefaultPerOwner)

			w := cgroups.NewWatcher(&cgroups.Tree{Mount: tree.Mount}, cgroups.WatchOptions{})
			require.NoError(t, w.Start())
			t.Cleanup(func() { stop(w) })
			late := makePods(t, tree, "late", 50)
			all = append(all, late...)
			require.Equal(t, len(all), known(t, w.Name, all))
			cgroupsKnown, watched := w.Size()
			require.Less(t, cgroupsKnown, 2*cgroups.DefaultPerOwner)
			require.Less(t, watched, 2*cgroups.DefaultPerOwner)
			require.True(t, w.Whole(), "the tree is not walked each second for it")
			require.GreaterOrEqual(t, w.Skipped(), many-cgroups.DefaultPerOwner)
		})
	}
}

// TestChurnOfOneUser: cgroups that come and go without end are looked at for a while
// only, and those of others as before.
func TestChurnOfOneUser(t *testing.T) {
	tree, w := watched(t, cgroups.WatchOptions{})
	mkdir(t, tree, session)
	mkdir(t, tree, "kubepods.slice")
	appeared := 0
	for i := range 40 {
		for j := range 100 {
			dir := filepath.Join(tree.Mount, session, fmt.Sprint(i*100+j))
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.Remove(dir))
		}
		pods := makePods(t, tree, fmt.Sprintf("x%d-", i), 1)
		appeared += known(t, w.Name, pods)
	}
	require.Equal(t, 80, appeared)
	require.Positive(t, w.Skipped())
	_, watches := w.Size()
	require.Less(t, watches, 100, "none of the user's")
	quiet := mkdir(t, tree, session+"/quiet")
	require.Empty(t, pathOf(t, w, quiet))
	w.Retry()
	require.Equal(t, "/"+session+"/quiet", pathOf(t, w, quiet), "each minute it is as before")
}

// TestManyOwners: all together are bounded, and each has as much as another.
func TestManyOwners(t *testing.T) {
	const most, users, least = 200, 40, 16
	tree := &cgroups.Tree{Mount: t.TempDir(), Max: most}
	pods := makePods(t, tree, "p", 50)
	for i := range users {
		flood(t, tree, fmt.Sprintf("user.slice/user-%d.slice", i), 50)
	}
	require.NoError(t, tree.Refresh())
	require.Equal(t, len(pods), known(t, tree.Name, pods))
	for i := range users {
		user := mkdir(t, tree, fmt.Sprintf("user.slice/user-%d.slice", i))
		require.NotEmpty(t, nameOf(t, tree, user, time.Now()).Path)
	}
	require.Less(t, cgroups.KnownTo(tree), len(pods)+most+users*least+50)
}

// TestLongPaths take more room.
func TestLongPaths(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir(), PerOwner: 100}
	long := session
	for range 8 {
		long += "/" + strings.Repeat("n", 200)
	}
	flood(t, tree, long, 100)
	require.NoError(t, tree.Refresh())
	require.Less(t, cgroups.KnownTo(tree), 40)
	require.Positive(t, tree.Skipped())
}
