package store

import (
	"context"
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
)

const (
	boot = "3196165f-0e94-455d-93c7-2be83efd8503"
	uid  = "0f7a2b1c-1234-4abc-8def-0123456789ab"
)

// source is one that a test fills.
type source struct {
	mu       sync.Mutex // guards what follows, as a real source has one
	asked    int        // for all
	restored []cgroups.Known
	known    []cgroups.Known
	notify   func(cgroups.Known)
}

func (s *source) Restore(list []cgroups.Known) { s.restored = list }
func (s *source) Notify(f func(cgroups.Known)) { s.notify = f }
func (s *source) learn(things ...cgroups.Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range things {
		s.known = append(s.known, one)
		s.notify(one)
	}
}

func (s *source) All() []cgroups.Known {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return append([]cgroups.Known(nil), s.known...)
}

// times is how often all were asked for.
func (s *source) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// life is an agent's.
type life struct {
	cgroups    source
	warned     []error
	checkpoint *Checkpoint
	end        func()
}

// live starts one. end ends it as SIGKILL does: nothing is written any more.
func live(t *testing.T, dir, boot string) *life {
	t.Helper()
	l := &life{}
	l.checkpoint = OpenCheckpoint(CheckpointOptions{
		Dir: dir, Boot: boot, Cgroups: &l.cgroups,
		Warn: func(err error) { l.warned = append(l.warned, err) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.checkpoint.Run(ctx) })
	l.end = func() { cancel(); running.Wait() }
	return l
}

func pathOf(n int) string { return fmt.Sprintf("/kubepods/pod%s/%064x", uid, n) }

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
		first.cgroups.learn(cgroups.Known{ID: 3, Path: pathOf(3), Gone: began})
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
		second.end()

		time.Sleep(10 * time.Minute)
		third := live(t, dir, boot)
		require.ElementsMatch(t, []cgroups.Known{{ID: 1, Path: pathOf(1)}, {ID: 2, Path: pathOf(2)}}, third.cgroups.restored)
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
		require.Equal(t, fmt.Sprintf(`{"v":2,"boot":%q}`+"\n", boot), head)
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
				require.True(t, strings.HasPrefix(text, head+`{"id":7,"path":"/left"}`+"\n"), "all, and what came since")
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
