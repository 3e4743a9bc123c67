package cgroups_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

// TestRestore: a watcher names what was removed before it began, and finds out what of
// the restored is gone.
func TestRestore(t *testing.T) {
	mount := t.TempDir()
	first := cgroups.NewWatcher(&cgroups.Tree{Mount: mount}, cgroups.WatchOptions{})
	require.NoError(t, first.Start())
	t.Cleanup(func() { stop(first) })
	tree := &cgroups.Tree{Mount: mount}
	stays, goes := mkdir(t, tree, "pod/stays"), mkdir(t, tree, "pod/goes")
	require.Equal(t, "/pod/goes", pathOf(t, first, goes))
	left := first.All()
	require.Len(t, left, 4)
	held, err := os.Open(filepath.Join(mount, "pod/goes"))
	require.NoError(t, err)
	defer held.Close() // this file system would give its number to the next
	require.NoError(t, os.Remove(held.Name()))

	tree = &cgroups.Tree{Mount: mount, Parent: func(id uint64) (uint64, bool) { return goes, id == 1<<60 }}
	second := cgroups.NewWatcher(tree, cgroups.WatchOptions{})
	t.Cleanup(func() { stop(second) })
	long := time.Now().Add(-time.Minute)
	second.Restore(append(left, cgroups.Known{ID: 1 << 61, Path: "/long/gone", Gone: long}))
	var notified []cgroups.Known
	second.Notify(func(k cgroups.Known) { notified = append(notified, k) })
	require.NoError(t, second.Start())
	require.Equal(t, "/pod/goes", pathOf(t, second, goes))
	require.Equal(t, "/long/gone", pathOf(t, second, 1<<61))
	name, err := second.Name(1<<60, time.Now())
	require.NoError(t, err)
	require.Equal(t, "/pod/goes", name.Nearest)
	require.Len(t, notified, 1, "what is as it was is not notified again")
	require.Equal(t, goes, notified[0].ID)
	require.WithinDuration(t, time.Now(), notified[0].Gone, time.Minute)

	late := mkdir(t, tree, "pod/late")
	require.Equal(t, "/pod/late", pathOf(t, second, late))
	require.NoError(t, os.Remove(filepath.Join(mount, "pod/stays")))
	require.Empty(t, pathOf(t, second, 1<<62), "and what was removed is seen")
	require.Len(t, notified, 3)
	require.Equal(t, cgroups.Known{ID: late, Path: "/pod/late"}, notified[1])
	require.Equal(t, stays, notified[2].ID)
	gone := map[uint64]bool{}
	for _, k := range second.All() {
		gone[k.ID] = !k.Gone.IsZero()
		if k.ID == 1<<61 {
			require.Equal(t, long, k.Gone, "as it was")
		}
	}
	require.Len(t, gone, 6)
	require.True(t, gone[goes] && gone[stays] && !gone[late])
}
