package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

const (
	boot = "3196165f-0e94-455d-93c7-2be83efd8503"
	id   = "3f2a9c1b2d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeef"
	uid  = "0f7a2b1c-1234-4abc-8def-0123456789ab"
)

// source is one that a test fills.
type source[T any] struct {
	mu       sync.Mutex // guards what follows, as a real source has one
	asked    int        // for all
	restored []T
	known    []T
	notify   func(T)
}

func (s *source[T]) Restore(list []T) { s.restored = list }
func (s *source[T]) Notify(f func(T)) { s.notify = f }
func (s *source[T]) learn(things ...T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range things {
		s.known = append(s.known, one)
		s.notify(one)
	}
}

func (s *source[T]) All() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return append([]T(nil), s.known...)
}

// times is how often all were asked for.
func (s *source[T]) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// life is an agent's.
type life struct {
	cgroups    source[cgroups.Known]
	containers source[resolve.KnownContainer]
	pods       source[resolve.KnownPod]
	warned     []error
	checkpoint *Checkpoint
	end        func()
}

// live starts one. end ends it as SIGKILL does: nothing is written any more.
func live(t *testing.T, dir, boot string) *life {
	t.Helper()
	l := &life{}
	l.checkpoint = OpenCheckpoint(CheckpointOptions{
		Dir: dir, Boot: boot, Cgroups: &l.cgroups, Containers: &l.containers, Pods: &l.pods,
		Warn: func(err error) { l.warned = append(l.warned, err) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.checkpoint.Run(ctx) })
	l.end = func() { cancel(); running.Wait() }
	return l
}

func pathOf(n int) string { return fmt.Sprintf("/kubepods/pod%s/%064x", uid, n) }

func container(n int) resolve.KnownContainer {
	return resolve.KnownContainer{ID: fmt.Sprintf("%064x", n), Info: resolve.ContainerInfo{
		Namespace: "k8s.io", Image: "shop:1", Name: "app", Pod: "web-1", PodNamespace: "shop",
	}}
}

func pod(name string) resolve.KnownPod {
	p := resolve.KnownPod{Hash: "h"}
	p.UID, p.Namespace, p.Name, p.Managed = "uid-of-"+name, "shop", name, true
	p.Containers = []resolve.Container{{Name: "app", Image: "shop:1", Kind: resolve.KindSidecar, IDs: []string{id}}}
	return p
}

// content is the file's, as another process reads it at the moment.
func content(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, checkpointName))
	require.NoError(t, err)
	return string(data)
}

// TestOverARestart: what was learned is known to the next agent of the boot, however
// the first has ended, and for ten minutes after its removal.
func TestOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := live(t, dir, boot)
		synctest.Wait()
		require.Empty(t, first.cgroups.restored)
		began := time.Now().UTC()
		first.cgroups.learn(cgroups.Known{ID: 1, Path: pathOf(1)}, cgroups.Known{ID: 2, Path: pathOf(2)}, cgroups.Known{ID: 3, Path: pathOf(3)})
		first.containers.learn(container(1), container(3), container(9))
		first.pods.learn(pod("web-1"), pod("web-2"))
		first.cgroups.learn(cgroups.Known{ID: 3, Path: pathOf(3), Gone: began})
		gone := pod("web-2")
		gone.Gone = began
		first.pods.learn(gone)
		time.Sleep(2 * coalesce)
		synctest.Wait()
		// SIGKILL: the file is what it is now.
		killed, copied := t.TempDir(), t.TempDir()
		for _, dir2 := range []string{killed, copied} {
			require.NoError(t, os.WriteFile(filepath.Join(dir2, checkpointName), []byte(content(t, dir)), 0o600))
		}
		first.end()

		second := live(t, copied, boot)
		require.ElementsMatch(t, []cgroups.Known{{ID: 1, Path: pathOf(1)}, {ID: 2, Path: pathOf(2)}, {ID: 3, Path: pathOf(3), Gone: began}}, second.cgroups.restored)
		require.ElementsMatch(t, []resolve.KnownContainer{container(1), container(3)}, second.containers.restored, "9 has no cgroup")
		require.ElementsMatch(t, []resolve.KnownPod{pod("web-1"), gone}, second.pods.restored)
		second.end()

		time.Sleep(10 * time.Minute)
		third := live(t, dir, boot)
		require.ElementsMatch(t, []cgroups.Known{{ID: 1, Path: pathOf(1)}, {ID: 2, Path: pathOf(2)}}, third.cgroups.restored)
		require.ElementsMatch(t, []resolve.KnownContainer{container(1)}, third.containers.restored)
		require.ElementsMatch(t, []resolve.KnownPod{pod("web-1")}, third.pods.restored)
		third.end()
		fourth := live(t, killed, "another boot")
		require.Empty(t, fourth.cgroups.restored)
		fourth.end()
		fifth := live(t, killed, boot)
		require.Empty(t, fifth.cgroups.restored, "it is the other boot's by now")
		fifth.end()
		for _, l := range []*life{first, second, third, fourth, fifth} {
			require.Empty(t, l.warned)
		}
	})
}

// TestWrites: at rest nothing is written, many changes are one write, and a file that
// has grown is written anew.
func TestWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := live(t, dir, boot)
		time.Sleep(time.Hour)
		synctest.Wait()
		head := content(t, dir)
		require.Equal(t, fmt.Sprintf(`{"v":1,"boot":%q}`+"\n", boot), head)
		l.cgroups.learn(cgroups.Known{ID: 1, Path: pathOf(1)})
		time.Sleep(coalesce / 2)
		synctest.Wait()
		one := content(t, dir)
		require.Equal(t, 2, strings.Count(one, "\n"), "after a rest at once")
		for n := range 100 {
			l.cgroups.learn(cgroups.Known{ID: uint64(2 + n), Path: pathOf(n)})
		}
		synctest.Wait()
		require.Equal(t, one, content(t, dir), "others may come")
		time.Sleep(coalesce)
		synctest.Wait()
		require.Equal(t, 102, strings.Count(content(t, dir), "\n"))
		info, err := os.Stat(filepath.Join(dir, checkpointName))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())

		l.cgroups.known = []cgroups.Known{{ID: 7, Path: "/left"}}
		renewed := 0
		for size := 0; renewed < 2; {
			for range 1000 {
				l.cgroups.notify(cgroups.Known{ID: 8, Path: pathOf(8)})
			}
			time.Sleep(2 * coalesce)
			synctest.Wait()
			text := content(t, dir)
			if len(text) < size {
				require.True(t, strings.HasPrefix(text, head+`{"cgroup":{"id":7,"path":"/left"}}`+"\n"), "all, and what came since")
				renewed++
			}
			size = len(text)
			require.Less(t, size, 2*mayGrow)
		}
		l.end()
		require.Empty(t, l.warned)
	})
}

// TestDiskFull: it is said once, and all is written when there is room again.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		next := filepath.Join(dir, checkpointNext)
		require.NoError(t, os.MkdirAll(filepath.Join(next, "in the way"), 0o700))
		l := live(t, dir, boot)
		l.cgroups.learn(cgroups.Known{ID: 1, Path: pathOf(1)})
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Len(t, l.warned, 1)
		require.ErrorIs(t, l.warned[0], syscall.ENOTEMPTY)
		require.Equal(t, 7, l.cgroups.times(), "at the start, and each ten seconds")
		require.NoError(t, os.RemoveAll(next))
		time.Sleep(again)
		synctest.Wait()
		require.Equal(t, 2, strings.Count(content(t, dir), "\n"), "without a further change")
		l.end()
		require.Len(t, l.warned, 1)
	})
}

// TestFlood: what the disk does not take in time does not stay in memory.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := live(t, dir, boot)
		synctest.Wait()
		l.cgroups.known = []cgroups.Known{{ID: 1, Path: pathOf(1)}}
		for range 3 * maxPending / len(pathOf(1)) {
			l.cgroups.notify(cgroups.Known{ID: 1, Path: pathOf(1)})
		}
		l.checkpoint.mu.Lock()
		require.LessOrEqual(t, len(l.checkpoint.pending), maxPending)
		l.checkpoint.mu.Unlock()
		time.Sleep(2 * coalesce)
		synctest.Wait()
		require.Equal(t, 2, strings.Count(content(t, dir), "\n"))
		l.end()
	})
}

// TestDamaged: what is no known of ours is left out, and the rest is taken.
func TestDamaged(t *testing.T) {
	head := fmt.Sprintf(`{"v":1,"boot":%q}`+"\n", boot)
	good := `{"cgroup":{"id":1,"path":"/a"}}` + "\n"
	for _, bad := range []string{
		"", "{", "null", "{}", "[]", "\x00\xff", head[:len(head)-1],
		`{"cgroup":{"id":0,"path":"/a"}}`, `{"cgroup":{"id":-1,"path":"/a"}}`, `{"cgroup":{"id":2}}`,
		`{"cgroup":{"id":2,"path":"a"}}`, `{"cgroup":{"id":2,"path":"/../etc"}}`, `{"cgroup":{"id":2,"path":"/a/"}}`,
		`{"cgroup":{"id":2,"path":"/\u0000"}}`, `{"cgroup":{"id":2,"path":"/` + strings.Repeat("a", 5000) + `"}}`,
		`{"cgroup":{"id":2,"path":"/a","gone":"now"}}`, `{"cgroup":{"id":2,"path":"/a"},"container":{"id":"a"}}`,
		`{"cgroup":{"id":2,"path":"/a"}}` + strings.Repeat(" ", 2*maxKnown),
		`{"container":{"id":""}}`, `{"container":{"id":"` + strings.Repeat("a", 300) + `"}}`,
		`{"pod":{"UID":"u","Namespace":"n","Name":"a/b"}}`, `{"pod":{"UID":"u","Namespace":"../n","Name":"a"}}`,
		`{"pod":{"Namespace":"n","Name":"a"}}`, `{"pod":{"UID":"u","Namespace":"n","Name":"a","Containers":[{"Kind":"mine"}]}}`,
		`{"pod":{"UID":"u","Namespace":"n","Name":"a","Containers":[{"Kind":"init","IDs":["1","2","3","4","5","6","7","8","9"]}]}}`,
		`{"pod":{"UID":"u","Namespace":"n","Name":"a","Containers":[{"Kind":"init"}` + strings.Repeat(`,{"Kind":"init"}`, 256) + `]}}`,
	} {
		k, damaged, err := parseKnowledge(strings.NewReader(head+bad+"\n"+good+`{"cgroup":{"id":3,"path":"/cut"}}`), boot)
		require.NoError(t, err)
		require.Equal(t, 1, damaged, "%.80q", bad)
		require.Equal(t, knowledge{cgroups: []cgroups.Known{{ID: 1, Path: "/a"}}}, k, "%.80q", bad)
	}
	for _, bad := range []string{"", "{", `{"v":2,"boot":"` + boot + `"}`, `{"boot":"` + boot + `"}`, strings.Repeat("a", 2*maxKnown)} {
		k, damaged, err := parseKnowledge(strings.NewReader(bad+"\n"+good), boot)
		require.NoError(t, err)
		require.Equal(t, 1, damaged)
		require.Equal(t, knowledge{}, k)
	}
	fault := errors.New("the disk")
	_, _, err := parseKnowledge(failing{fault}, boot)
	require.ErrorIs(t, err, fault)
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

// TestBounds: a file of any length fills no more than so much memory.
func TestBounds(t *testing.T) {
	var file strings.Builder
	fmt.Fprintf(&file, `{"v":1,"boot":%q}`+"\n", boot)
	for n := range maxCgroups + 10 {
		fmt.Fprintf(&file, `{"cgroup":{"id":%d,"path":"/a"}}`+"\n", n+1)
	}
	fmt.Fprintf(&file, `{"cgroup":{"id":1,"path":"/b"}}`+"\n")
	k, damaged, err := parseKnowledge(strings.NewReader(file.String()), boot)
	require.NoError(t, err)
	require.Equal(t, 10, damaged)
	require.Len(t, k.cgroups, maxCgroups)
	require.Contains(t, k.cgroups, cgroups.Known{ID: 1, Path: "/b"}, "the later known is in force")
	k.cgroups = append(k.cgroups, k.cgroups...)
	require.Len(t, k.fresh(time.Now(), nil).cgroups, maxCgroups)
}

// TestFuture: a clock that was set back makes nothing stay for longer.
func TestFuture(t *testing.T) {
	now := time.Now()
	k := knowledge{cgroups: []cgroups.Known{{ID: 1, Path: "/a", Gone: now.Add(time.Hour)}}}
	require.Equal(t, now, k.fresh(now, nil).cgroups[0].Gone)
}

// TestNoFile: whoever can make files in the directory can have nothing else read or
// written.
func TestNoFile(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	mine := fmt.Sprintf(`{"v":1,"boot":%q}`+"\n"+`{"cgroup":{"id":1,"path":"/a"}}`+"\n", boot)
	require.NoError(t, os.WriteFile(other, []byte(mine), 0o600))
	for name, make := range map[string]func(string) error{
		"link":   func(path string) error { return os.Symlink(other, path) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		dir := t.TempDir()
		require.NoError(t, make(filepath.Join(dir, checkpointName)))
		require.NoError(t, os.Symlink(other, filepath.Join(dir, checkpointNext)))
		synctest.Test(t, func(t *testing.T) {
			l := live(t, dir, boot)
			synctest.Wait()
			require.NotEmpty(t, l.warned, name)
			require.Empty(t, l.cgroups.restored)
			l.end()
		})
		data, err := os.ReadFile(other)
		require.NoError(t, err)
		require.Equal(t, mine, string(data))
	}
}

// FuzzParse: any file is read in its bounds, and what is written of it is read the
// same.
func FuzzParse(f *testing.F) {
	var whole strings.Builder
	_, err := knowledge{[]cgroups.Known{{ID: 1, Path: pathOf(1), Gone: time.Unix(1, 0)}}, []resolve.KnownContainer{container(1)}, []resolve.KnownPod{pod("web")}}.writeTo(&whole, boot)
	require.NoError(f, err)
	f.Add([]byte(whole.String()))
	f.Add([]byte(`{"v":1,"boot":"` + boot + "\"}\n{\"pod\":{\"uid\":\"u\",\"Namespace\":\"n\",\"Name\":\"a\",\"Gone\":\"0001-01-01T00:00:00Z\"}}\n"))
	f.Add([]byte(`{"v":1,"boot":"` + boot + "\"}\n{\"cgroup\":{\"id\":18446744073709551615,\"path\":\"/\xff\"}}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, _, err := parseKnowledge(strings.NewReader(string(data)), boot)
		require.NoError(t, err)
		var out strings.Builder
		size, err := k.writeTo(&out, boot)
		require.NoError(t, err)
		require.EqualValues(t, out.Len(), size)
		again, damaged, err := parseKnowledge(strings.NewReader(out.String()), boot)
		require.NoError(t, err)
		require.Zero(t, damaged)
		require.Len(t, again.cgroups, len(k.cgroups))
		require.Len(t, again.containers, len(k.containers))
		require.Len(t, again.pods, len(k.pods))
		now := time.Now()
		require.LessOrEqual(t, len(k.fresh(now, nil).containers), len(k.fresh(now, nil).cgroups), "each has a cgroup")
	})
}
