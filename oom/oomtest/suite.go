// Package oomtest is the conformance suite of evidence sources: each passes it,
// on a made-up cgroup tree and on a real one.
package oomtest

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// Fixture is a container that a source can watch and a test can harm.
type Fixture interface {
	Source() oom.Source
	Target() oom.Target
	// Kill has the OOM killer end n of the container's processes, not init.
	Kill(t *testing.T, n int)
	// KillOther has it end one of another container's, in the same parent.
	KillOther(t *testing.T)
	// Remove removes the container's cgroup.
	Remove(t *testing.T)
	// Spoil makes the source unreadable, and returns false if that can't be done.
	Spoil(t *testing.T) bool
}

// Run runs the suite. make is called once for each test.
func Run(t *testing.T, make func(t *testing.T) Fixture) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Fixture){
		"nothing killed":             testNothing,
		"kills are counted":          testCounted,
		"kills before Arm are not":   testBaseline,
		"another's kills are not":    testOther,
		"the last reading outlives":  testGone,
		"unreadable is an error":     testSpoilt,
		"a dead process is an error": testDead,
		"closed is an error":         testClosed,
		"concurrent readings":        testConcurrent,
		"resumed":                    testResumed,
		"resumed without its cgroup": testResumedGone,
		"no checkpoint":              testNoCheckpoint,
	} {
		t.Run(name, func(t *testing.T) { test(t, make(t)) })
	}
}

func arm(t *testing.T, f Fixture) oom.Probe {
	t.Helper()
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func read(t *testing.T, p oom.Probe) oom.Evidence {
	t.Helper()
	ev, err := p.Read()
	require.NoError(t, err)
	return ev
}

func testNothing(t *testing.T, f Fixture) {
	ev := read(t, arm(t, f))
	require.Equal(t, f.Source().Name(), ev.Source)
	require.Zero(t, ev.Kills)
	require.Zero(t, ev.Last)
	require.NotEqual(t, oom.Yes, ev.Init)
	require.Equal(t, oom.CauseNone, ev.Cause)
	require.False(t, ev.Gone)
}

func testCounted(t *testing.T, f Fixture) {
	p := arm(t, f)
	before := time.Now()
	f.Kill(t, 1)
	ev := read(t, p)
	require.EqualValues(t, 1, ev.Kills)
	require.WithinRange(t, ev.Last, before, time.Now())
	require.NotEqual(t, oom.Yes, ev.Init, "a child was killed")
	require.NotEqual(t, oom.CauseNone, ev.Cause)
	again := read(t, p)
	require.Equal(t, ev, again, "reading again changes nothing")
	f.Kill(t, 2)
	more := read(t, p)
	require.EqualValues(t, 3, more.Kills)
	require.True(t, more.Last.After(ev.Last))
}

func testBaseline(t *testing.T, f Fixture) {
	f.Kill(t, 2)
	p := arm(t, f)
	require.Zero(t, read(t, p).Kills)
	f.Kill(t, 1)
	require.EqualValues(t, 1, read(t, p).Kills)
}

func testOther(t *testing.T, f Fixture) {
	p := arm(t, f)
	f.KillOther(t)
	require.Zero(t, read(t, p).Kills)
}

func testGone(t *testing.T, f Fixture) {
	p := arm(t, f)
	f.Kill(t, 1)
	before := read(t, p)
	f.Remove(t)
	ev, err := p.Read()
	if err == nil {
		// A source that needs no cgroup knows it all the same.
		require.EqualValues(t, 1, ev.Kills)
		return
	}
	require.ErrorIs(t, err, oom.ErrGone)
	require.True(t, ev.Gone)
	ev.Gone = false
	require.Equal(t, before, ev)
}

func testSpoilt(t *testing.T, f Fixture) {
	p := arm(t, f)
	f.Kill(t, 1)
	before := read(t, p)
	if !f.Spoil(t) {
		t.Skip("a real kernel's counters can't be spoilt; the made-up tree's are")
	}
	ev, err := p.Read()
	require.Error(t, err)
	require.False(t, errors.Is(err, oom.ErrGone))
	require.NotEqual(t, oom.No, ev.Sent, "a signal after the last good reading is not known")
	require.NotEqual(t, oom.No, ev.Init, "nor is a kill")
	before.Sent, before.Init = ev.Sent, ev.Init
	require.Equal(t, before, ev)
	_, err = f.Source().Arm(f.Target())
	require.Error(t, err, "what can't be read can't be armed")
}

func testDead(t *testing.T, f Fixture) {
	target := f.Target()
	target.Pid = 1<<22 + 1 // above the kernel's PID_MAX_LIMIT
	_, err := f.Source().Arm(target)
	require.ErrorContains(t, err, target.ID)
}

func testClosed(t *testing.T, f Fixture) {
	p := arm(t, f)
	f.Kill(t, 1)
	before := read(t, p)
	require.NoError(t, p.Close())
	ev, err := p.Read()
	require.ErrorIs(t, err, os.ErrClosed)
	require.Equal(t, before, ev)
}

func testConcurrent(t *testing.T, f Fixture) {
	p := arm(t, f)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var most uint64
			for range 50 {
				ev, err := p.Read()
				if err != nil || ev.Kills < most {
					t.Errorf("kills went from %d to %d: %v", most, ev.Kills, err)
					return
				}
				most = ev.Kills
			}
		})
	}
	f.Kill(t, 1)
	wg.Wait()
	require.EqualValues(t, 1, read(t, p).Kills)
}
