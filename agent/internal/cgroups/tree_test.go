package cgroups_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
)

// mkdir makes a directory below the mount and returns its ID.
func mkdir(t *testing.T, tree *cgroups.Tree, name string) uint64 {
	t.Helper()
	dir := filepath.Join(tree.Mount, name)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	id, err := bpf.CgroupID(dir)
	require.NoError(t, err)
	return id
}

func nameOf(t *testing.T, tree *cgroups.Tree, id uint64, at time.Time) cgroups.Name {
	t.Helper()
	name, err := tree.Name(id, at)
	require.NoError(t, err)
	return name
}

func TestTreeRemembersTheRemoved(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir()}
	a := mkdir(t, tree, "a/b")
	require.Equal(t, "/a/b", nameOf(t, tree, a, time.Now()).Path, "found by a walk on a miss")
	require.NoError(t, os.Remove(filepath.Join(tree.Mount, "a/b")))
	require.NoError(t, tree.Refresh())
	require.Equal(t, "/a/b", nameOf(t, tree, a, time.Now()).Path, "known still")
	require.Equal(t, cgroups.Name{}, nameOf(t, tree, 0, time.Now()), "no cgroup")
	require.NoError(t, os.WriteFile(filepath.Join(tree.Mount, "a/file"), nil, 0o644))
}

// TestTreeWalksOncePerMiss: what was not there after the kill is gone for good.
func TestTreeWalksOncePerMiss(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir()}
	before := time.Now()
	require.NoError(t, tree.Refresh())
	late := mkdir(t, tree, "late")
	require.Empty(t, nameOf(t, tree, late, before).Path, "no second walk for a kill before the first")
	require.Equal(t, "/late", nameOf(t, tree, late, time.Now()).Path)
}

func TestTreeIsBounded(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir(), Max: 4}
	old := mkdir(t, tree, "old")
	require.NoError(t, tree.Refresh())
	require.NoError(t, os.Remove(filepath.Join(tree.Mount, "old")))
	var ids []uint64
	for i := range 3 {
		ids = append(ids, mkdir(t, tree, fmt.Sprint(i)))
	}
	require.NoError(t, tree.Refresh())
	past := time.Now().Add(-time.Hour)
	for _, id := range ids {
		if id != old { // a file system may give the number again
			require.NotEmpty(t, nameOf(t, tree, id, past).Path, "those that are there stay")
		}
	}
}

func TestTreeFindsThePodOfARemovedContainer(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir()}
	pod := mkdir(t, tree, "kubepods/pod"+uid)
	above := map[uint64]uint64{1: 2, 2: pod, pod: 3}
	tree.Parent = func(id uint64) (uint64, bool) { return above[id], above[id] != 0 }
	name := nameOf(t, tree, 1, time.Now())
	require.Equal(t, cgroups.Name{ID: 1, Above: []uint64{2, pod, 3}, Nearest: "/kubepods/pod" + uid}, name)
	require.Equal(t, uid, name.Place().PodUID)
	require.Empty(t, name.Place().Container)

	loop := &cgroups.Tree{Mount: t.TempDir(), Parent: func(id uint64) (uint64, bool) { return id, true }}
	require.Empty(t, nameOf(t, loop, 1, time.Now()).Path, "a ledger that lies does not hang us")

	guess := mkdir(t, tree, "default/web")
	above[5] = guess
	require.Empty(t, nameOf(t, tree, 5, time.Now()).Place().Container, "it may be no container at all")
}

func TestTreeOfNothing(t *testing.T) {
	tree := &cgroups.Tree{}
	require.Empty(t, nameOf(t, tree, 7, time.Now()).Path)
	tree.Mount = "/nowhere"
	_, err := tree.Name(7, time.Now())
	require.ErrorContains(t, err, "/nowhere")
}

// TestTreeRemembersPlaces: what a path says is found out once, and anew where the
// cgroup was moved.
func TestTreeRemembersPlaces(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir()}
	moved := mkdir(t, tree, "kubepods/pod"+uid+"/"+id)
	for range 2 {
		name := nameOf(t, tree, moved, time.Now())
		require.Equal(t, kubelet.Locate(name.Path), name.Place())
		require.Equal(t, id, name.Place().Container)
		require.Empty(t, name.Above, "nothing needs them")
	}
	require.NoError(t, os.Rename(filepath.Join(tree.Mount, "kubepods/pod"+uid+"/"+id), filepath.Join(tree.Mount, "kubepods/web")))
	require.NoError(t, tree.Refresh())
	require.Equal(t, cgroups.Place{Path: "/kubepods/web"}, nameOf(t, tree, moved, time.Now()).Place())
}
