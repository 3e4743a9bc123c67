package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/agent/internal/store"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

func exitOf(namespace string, n int) exits.Exit {
	return exits.Exit{
		ID: fmt.Sprintf("%s-%d", namespace, n), Namespace: "k8s.io", Boot: "b", Pid: 1 + n, At: time.Unix(int64(n), 0), Status: 1,
		Pod:     &exits.Pod{Namespace: namespace, Name: "web"},
		Verdict: oom.Verdict{Ended: oom.EndedExited, Rule: oom.RuleNothingKnown},
	}
}

// life is one life of the agent's store, and what it has warned of.
type life struct {
	*store.Exits
	mu   sync.Mutex
	said []string
}

// live runs a store until it has what f waits for.
func live(t *testing.T, dir, spool string, f func(*life) bool) *life {
	t.Helper()
	l := &life{}
	l.Exits = store.OpenExits(store.ExitsOptions{Dir: dir, Spool: spool, Warn: func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.said = append(l.said, err.Error())
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	l.Start()
	run.Go(func() { l.Run(ctx) })
	require.Eventually(t, func() bool { return f(l) }, time.Minute, time.Millisecond)
	cancel()
	run.Wait()
	return l
}

func has(n int) func(*life) bool { return func(l *life) bool { return len(l.All()) == n } }

// TestFound: exits that no shim has spooled are kept as the others are, and each new one is
// reported once; by the next agent again, as far as an exit is of the last minutes.
func TestFound(t *testing.T) {
	dir, spool := t.TempDir(), filepath.Join(t.TempDir(), "exits")
	fresh, old := exitOf("shop", 1), exitOf("shop", 2)
	fresh.At, fresh.StartTicks = time.Now().Truncate(0), 7
	for _, again := range []bool{false, true} {
		var reported, repeated []string
		l := store.OpenExits(store.ExitsOptions{
			Dir: dir, Spool: spool, Warn: func(err error) { t.Error(err) },
			Out:   func(e *exits.Exit) { reported = append(reported, e.ID) },
			Again: func(e *exits.Exit) { repeated = append(repeated, e.ID) },
		})
		require.Equal(t, again, l.Has(&fresh))
		require.True(t, l.Found(fresh))
		require.True(t, l.Found(old))
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it reads once more
		l.Start()
		l.Run(ctx)
		require.Len(t, l.All(), 2)
		other := fresh
		other.At = fresh.At.Add(time.Second)
		require.True(t, l.Has(&other), "whatever the time of the exit")
		other.StartTicks++
		require.False(t, l.Has(&other))
		if again {
			require.Empty(t, reported)
			require.Equal(t, []string{fresh.ID}, repeated)
		} else {
			require.Equal(t, []string{fresh.ID, old.ID}, reported)
			require.Empty(t, repeated)
		}
	}
}

// TestTooLong: an exit that makes no line takes no other with it.
func TestTooLong(t *testing.T) {
	dir, spool := t.TempDir(), t.TempDir()
	l := store.OpenExits(store.ExitsOptions{Dir: dir, Spool: spool, Warn: func(err error) { t.Error(err) }})
	long := exitOf("shop", 1)
	long.Pod.Image = strings.Repeat("x", 20<<10)
	require.False(t, l.Found(long))
	require.True(t, l.Found(exitOf("shop", 2)))
	l.Start()
	require.Len(t, l.All(), 1)
	again := live(t, dir, spool, has(1))
	require.Equal(t, "shop-2", again.All()[0].ID)
}

// TestExitsOverRestarts: what an agent has read is there for the next one, also when the
// spool is gone after a reboot, and once.
func TestExitsOverRestarts(t *testing.T) {
	dir, spool := t.TempDir(), filepath.Join(t.TempDir(), "exits")
	for n := range 3 {
		require.NoError(t, exits.Append(spool, exitOf("shop", n)))
	}
	live(t, dir, spool, has(3))
	require.NoError(t, exits.Append(spool, exitOf("shop", 3)))
	live(t, dir, spool, has(4))
	require.NoError(t, os.RemoveAll(spool))
	last := live(t, dir, spool, has(4))
	require.Empty(t, last.said)
	require.Equal(t, "shop-3", last.All()[3].ID)
}

// TestExitsBounded: a namespace whose containers end all the time costs itself alone.
func TestExitsBounded(t *testing.T) {
	dir, spool := t.TempDir(), t.TempDir()
	require.NoError(t, exits.Append(spool, exitOf("quiet", 0)))
	const n = 3 * store.MaxExits / 2
	for i := range n {
		require.NoError(t, exits.Append(spool, exitOf("loud", i)))
	}
	l := live(t, dir, spool, has(store.MaxExits))
	require.Equal(t, fmt.Sprintf("loud-%d", n-1), l.All()[store.MaxExits-1].ID)
	require.Equal(t, "quiet-0", l.All()[0].ID)
	dropped := exitOf("loud", n-store.MaxExits).At // of those that are loud, MaxExits-1 are kept
	require.WithinDuration(t, dropped, l.Missing(), 0)
	again := live(t, dir, t.TempDir(), func(*life) bool { return true })
	require.LessOrEqual(t, len(again.All()), store.MaxExits)
	require.False(t, again.Missing().Before(dropped), "the next agent knows that some are missing")
	require.False(t, again.Missing().After(dropped.Add(time.Second)))
	require.True(t, slices.ContainsFunc(again.All(), func(e exits.Exit) bool { return e.ID == "quiet-0" }))
}

// TestExitsWithoutDisk: where the file can't be written the exits are there in memory, and
// the trouble is said once.
func TestExitsWithoutDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	spool := t.TempDir()
	require.NoError(t, exits.Append(spool, exitOf("shop", 1)))
	l := live(t, filepath.Join(file, "state"), spool, has(1))
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NotEmpty(t, l.said)
	require.Contains(t, l.said[len(l.said)-1], "not a directory")
}

// TestExitsOfOthers: a container outside of CRI's namespace cannot pass for a pod's.
func TestExitsOfOthers(t *testing.T) {
	spool := t.TempDir()
	e := exitOf("kube-system", 1)
	e.Namespace = "moby"
	require.NoError(t, exits.Append(spool, e))
	l := live(t, t.TempDir(), spool, has(1))
	require.Nil(t, l.All()[0].Pod)
}

// TestDamagedExits: a line that is none is left out, with a warning.
func TestDamagedExits(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "exits"), []byte("{\n\n"), 0o600))
	l := live(t, dir, t.TempDir(), func(*life) bool { return true })
	require.Len(t, l.said, 1)
	require.Contains(t, l.said[0], "1 lines are damaged")
}

// TestExitsNotMissing: where there is room for all, none is missing.
func TestExitsNotMissing(t *testing.T) {
	dir, spool := t.TempDir(), t.TempDir()
	require.NoError(t, exits.Append(spool, exitOf("shop", 1)))
	require.Zero(t, live(t, dir, spool, has(1)).Missing())
	require.Zero(t, live(t, dir, spool, has(1)).Missing())
}

// TestExitsGap: more exits than a spool holds, while no agent runs, are missing: for this
// agent, and for those after it.
func TestExitsGap(t *testing.T) {
	dir, spool, n := t.TempDir(), t.TempDir(), 0
	add := func(more int) {
		for ; more > 0; more-- {
			e := exitOf(fmt.Sprint("ns-", n), n)
			e.Verdict.Tier = strings.Repeat("A", 2000) // some 230 exits in a file
			require.NoError(t, exits.Append(spool, e))
			n++
		}
	}
	last := func(n int) func(*life) bool {
		return func(l *life) bool {
			return len(l.All()) > 0 && l.All()[len(l.All())-1].At.Equal(time.Unix(int64(n-1), 0))
		}
	}
	add(100)
	require.Zero(t, live(t, dir, spool, last(n)).Missing())
	add(200)
	l := live(t, dir, spool, last(n))
	require.Len(t, l.All(), 300)
	require.Zero(t, l.Missing(), "the spool had all")
	add(700)
	l = live(t, dir, spool, last(n))
	require.Less(t, len(l.All()), store.MaxExits)
	require.Equal(t, l.All()[300].At, l.Missing())
	require.True(t, l.Missing().After(time.Unix(300, 0)))
	for range 2 {
		add(1)
		require.WithinDuration(t, l.Missing(), live(t, dir, spool, last(n)).Missing(), 0)
	}
	require.NoError(t, os.RemoveAll(spool))
	require.WithinDuration(t, l.Missing(), live(t, dir, spool, last(n)).Missing(), 0)
}

// TestExitsOnFullDisk: a file of exits that does not fit leaves nothing of itself on the disk,
// where the journal needs the room.
func TestExitsOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a disk")
	}
	disk, spool := agenttest.Disk(t), t.TempDir()
	for n := range 1400 {
		require.NoError(t, exits.Append(spool, exitOf("shop", n)))
	}
	heal := agenttest.Fill(t, disk)
	live(t, disk, spool, has(store.MaxExits))
	require.NoFileExists(t, filepath.Join(disk, "exits.next"))
	heal()
}
