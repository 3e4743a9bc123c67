package cgroups_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// watched returns a watcher of a tree, not running: Name takes what came since.
func watched(t *testing.T, o cgroups.WatchOptions) (*cgroups.Tree, *cgroups.Watcher) {
	t.Helper()
	tree := &cgroups.Tree{Mount: t.TempDir()}
	w := cgroups.NewWatcher(tree, o)
	require.NoError(t, w.Start())
	t.Cleanup(func() { stop(w) })
	return tree, w
}

// stop closes a watcher: Run does.
func stop(w *cgroups.Watcher) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.Run(ctx)
}

func pathOf(t *testing.T, w *cgroups.Watcher, id uint64) string {
	t.Helper()
	name, err := w.Name(id, time.Now())
	require.NoError(t, err)
	return name.Path
}

// TestWatcherKnowsWhatWasRemovedAtOnce: no walk could find it.
func TestWatcherKnowsWhatWasRemovedAtOnce(t *testing.T) {
	var mu sync.Mutex
	var appeared []string
	tree, w := watched(t, cgroups.WatchOptions{Appeared: func(path string) {
		mu.Lock()
		defer mu.Unlock()
		appeared = append(appeared, path)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	id := mkdir(t, tree, "kubepods/pod1/c")
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(appeared) == 4
	}, 10*time.Second, time.Millisecond, "events, with nobody asking")
	require.NoError(t, os.RemoveAll(filepath.Join(tree.Mount, "kubepods")))
	require.Equal(t, "/kubepods/pod1/c", pathOf(t, w, id))
	cancel()
	running.Wait()
	require.Equal(t, []string{"/", "/kubepods", "/kubepods/pod1", "/kubepods/pod1/c"}, appeared)
	require.Equal(t, "/kubepods/pod1/c", pathOf(t, w, id), "also when it has ended")
}

// TestWatcherTakesEventsWhenAsked: a kill may be read before the goroutine has
// had its turn.
func TestWatcherTakesEventsWhenAsked(t *testing.T) {
	tree, w := watched(t, cgroups.WatchOptions{})
	var notified []cgroups.Known
	w.Notify(func(k cgroups.Known) { notified = append(notified, k) })
	id := mkdir(t, tree, "a/b/c")
	require.Equal(t, "/a/b/c", pathOf(t, w, id))
	known, dirs := w.Size()
	require.Equal(t, 4, known)
	require.Equal(t, 4, dirs)
	require.NoError(t, os.Rename(filepath.Join(tree.Mount, "a"), filepath.Join(tree.Mount, "z")))
	late := mkdir(t, tree, "z/late")
	require.Equal(t, "/z/late", pathOf(t, w, late), "moved as a whole")
	require.Equal(t, "/z/b/c", pathOf(t, w, id))
	require.Equal(t, 5, w.Paths())
	require.Contains(t, notified, cgroups.Known{ID: id, Path: "/z/b/c"})
}

// TestWatcherLetsGo: of what was removed no watch is left, on the kernel's own file
// system too, whether its events say so or a walk.
func TestWatcherLetsGo(t *testing.T) {
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-watch-%d", time.Now().UnixNano()))
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Skipf("needs leave to make cgroups: %v", err)
	}
	t.Cleanup(func() { oomtest.RemoveCgroup(t, parent) })
	for name, lost := range map[string]bool{"by events": false, "by a walk": true} {
		t.Run(name, func(t *testing.T) {
			w := cgroups.NewWatcher(&cgroups.Tree{Mount: parent}, cgroups.WatchOptions{Watches: 3})
			require.NoError(t, w.Start())
			t.Cleanup(func() { stop(w) })
			for range 100 {
				pod := filepath.Join(parent, "pod")
				container := filepath.Join(pod, "container")
				require.NoError(t, os.Mkdir(pod, 0o755))
				require.NoError(t, os.Mkdir(container, 0o755))
				id, err := bpf.CgroupID(container)
				require.NoError(t, err)
				require.Equal(t, "/pod/container", pathOf(t, w, id))
				if lost {
					w.Inject(overflow()) // it meets those that it watches again
				}
				oomtest.RemoveCgroup(t, container)
				oomtest.RemoveCgroup(t, pod)
				if lost {
					w.Lose()
					w.Inject(overflow())
				}
			}
			require.Empty(t, pathOf(t, w, 1<<60), "and the last events are taken")
			known, watched := w.Size()
			require.Equal(t, 201, known)
			require.Equal(t, 1, watched)
		})
	}
}

// TestWatcherWithoutWatches walks instead.
func TestWatcherWithoutWatches(t *testing.T) {
	tree, w := watched(t, cgroups.WatchOptions{Watches: 2})
	mkdir(t, tree, "kubepods/pod1")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	id := mkdir(t, tree, "kubepods/pod1/c")
	require.Eventually(t, func() bool { known, _ := w.Size(); return known == 4 }, 10*time.Second, time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(tree.Mount, "kubepods/pod1/c")))
	require.Equal(t, "/kubepods/pod1/c", pathOf(t, w, id))
	_, dirs := w.Size()
	require.LessOrEqual(t, dirs, 2)
	cancel()
	running.Wait()
}

// TestWatcherWithoutInstance: a pod of root may have taken all inotify instances when the
// watcher starts. The watcher watches when there is one again.
func TestWatcherWithoutInstance(t *testing.T) {
	tree := &cgroups.Tree{Mount: t.TempDir()}
	mkdir(t, tree, "a")
	w := cgroups.NewWatcher(tree, cgroups.WatchOptions{})
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: before.Max})) // as EMFILE by max_user_instances
	err := w.Start()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
	require.ErrorIs(t, err, unix.EMFILE)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	require.Eventually(t, w.Whole, 10*time.Second, 10*time.Millisecond)
	_, watches := w.Size()
	require.Equal(t, 2, watches)
	require.Equal(t, "/a/b", pathOf(t, w, mkdir(t, tree, "a/b")))
	cancel()
	<-ended
}

// TestWatcherOverflow: the kernel's queue had no room for what came.
func TestWatcherOverflow(t *testing.T) {
	tree, w := watched(t, cgroups.WatchOptions{})
	old := mkdir(t, tree, "old")
	require.Equal(t, "/old", pathOf(t, w, old))
	w.Deaf()
	id := mkdir(t, tree, "behind/it")
	require.Empty(t, pathOf(t, w, id), "no event names it")
	w.Inject(overflow())
	require.Equal(t, "/behind/it", pathOf(t, w, id))
	require.Equal(t, "/old", pathOf(t, w, old))
}

// overflow is the event of it.
func overflow() []byte {
	raw := binary.NativeEndian.AppendUint32(nil, 1<<32-1) // watch -1
	raw = binary.NativeEndian.AppendUint32(raw, unix.IN_Q_OVERFLOW)
	return append(raw, make([]byte, 8)...)
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofInotifyEvent))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x40\x00\x00\x00\x00\x10\x00\x00\x00../../../../etc\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x01\x00\x40\x00\x00\x00\x00\xff\xff\xff\xffx"))
	tree := &cgroups.Tree{Mount: f.TempDir()}
	w := cgroups.NewWatcher(tree, cgroups.WatchOptions{})
	require.NoError(f, w.Start())
	f.Fuzz(func(t *testing.T, raw []byte) {
		w.Inject(raw)
		known, dirs := w.Size()
		require.LessOrEqual(t, known, 1)
		require.LessOrEqual(t, dirs, 1)
	})
}

// TestWatcherOfNothing: a tree that comes later is found.
func TestWatcherOfNothing(t *testing.T) {
	tree := &cgroups.Tree{Mount: filepath.Join(t.TempDir(), "later")}
	w := cgroups.NewWatcher(tree, cgroups.WatchOptions{})
	require.ErrorContains(t, w.Start(), tree.Mount)
	require.ErrorIs(t, w.Err(), os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	id := mkdir(t, tree, "kubepods/pod1")
	require.Eventually(t, func() bool { return pathOf(t, w, id) != "" }, 10*time.Second, time.Millisecond)
	require.NoError(t, w.Err())
	late := mkdir(t, tree, "kubepods/pod1/c")
	require.Equal(t, "/kubepods/pod1/c", pathOf(t, w, late), "by an event")
	cancel()
	running.Wait()
}

func TestLimits(t *testing.T) {
	tree, w := watched(t, cgroups.WatchOptions{})
	for name, files := range map[string]map[string]string{
		"v2":        {"memory.max": "1048576\n", "memory.peak": "1048000\n", "memory.current": "1\n"},
		"old v2":    {"memory.max": "1048576\n", "memory.current": "1048000\n"},
		"v1":        {"memory.limit_in_bytes": "1048576\n", "memory.max_usage_in_bytes": "1048000\n"},
		"none":      {"memory.max": "max\n"},
		"none v1":   {"memory.limit_in_bytes": "9223372036854771712\n"},
		"not there": {},
		"rubbish":   {"memory.max": "-1\n", "memory.peak": "x"},
		"too long":  {"memory.max": strings.Repeat("0", 40) + "1048576\n", "memory.peak": strings.Repeat(" ", 32) + "1"},
	} {
		id := mkdir(t, tree, name)
		require.Equal(t, "/"+name, pathOf(t, w, id))
		for file, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(tree.Mount, name, file), []byte(text), 0o644))
		}
		limit, usage := w.Limits(id)
		if name[:1] == "v" || name == "old v2" {
			require.EqualValues(t, 1048576, *limit, name)
			require.EqualValues(t, 1048000, *usage, name)
			continue
		}
		require.Nil(t, limit, name)
		require.Nil(t, usage, name)
	}
	limit, usage := w.Limits(1 << 60)
	require.True(t, limit == nil && usage == nil)
}

func TestUnit(t *testing.T) {
	for path, want := range map[string]string{
		"/system.slice/ssh.service":                                       "ssh.service",
		"/system.slice/ssh.service/inner":                                 "ssh.service",
		"/system.slice/system-getty.slice/getty@tty1.service":             "getty@tty1.service",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope": "user@1000.service",
		"/user.slice/user-0.slice/session-1.scope":                        "session-1.scope",
		"/init.scope":                   "init.scope",
		"/system.slice":                 "system.slice",
		"/system.slice/_cgroup.service": "cgroup.service",
		"/a.slice/b/c.service":          "a.slice",
		"/docker/x":                     "",
		"/":                             "",
		"":                              "",
	} {
		require.Equal(t, want, cgroups.Unit(path), path)
	}
}
