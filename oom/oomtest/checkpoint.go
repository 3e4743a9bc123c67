package oomtest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// resume has another source go on from the checkpoint of a probe, as another process
// does.
func resume(t *testing.T, f Fixture, p oom.Probe) oom.Probe {
	t.Helper()
	k, ok := p.(oom.Checkpointer)
	require.True(t, ok, "%T has no checkpoint", p)
	checkpoint, err := k.Checkpoint()
	require.NoError(t, err)
	s, ok := f.Source().(oom.Resumer)
	require.True(t, ok, "%T can't go on", f.Source())
	resumed, err := s.Resume(checkpoint)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, resumed.Close()) })
	return resumed
}

func testResumed(t *testing.T, f Fixture) {
	f.Kill(t, 2) // before Arm
	p := arm(t, f)
	fresh := resume(t, f, p)
	require.Equal(t, read(t, p), read(t, fresh))

	f.Kill(t, 1)
	seen := read(t, p)
	again := read(t, resume(t, f, p))
	require.WithinDuration(t, seen.Last, again.Last, time.Second, "the time of a kill that was read is in the checkpoint")
	again.Last = seen.Last
	require.Len(t, again.Victims, len(seen.Victims))
	for i := range again.Victims {
		require.WithinDuration(t, seen.Victims[i].At, again.Victims[i].At, time.Second)
		again.Victims[i].At = seen.Victims[i].At
	}
	require.Equal(t, seen, again)

	f.Kill(t, 1)
	now, late := read(t, p), read(t, resume(t, f, fresh))
	require.EqualValues(t, 2, now.Kills)
	require.EqualValues(t, 2, late.Kills, "since Arm, not since Resume")
	require.Equal(t, now.Cause, late.Cause)
	require.Equal(t, now.Init, late.Init)
}

func testResumedGone(t *testing.T, f Fixture) {
	p := arm(t, f)
	f.Kill(t, 1)
	seen := read(t, p)
	f.Remove(t)
	ev, err := resume(t, f, p).Read()
	require.EqualValues(t, 1, ev.Kills)
	require.Equal(t, seen.Cause, ev.Cause)
	if err != nil {
		require.ErrorIs(t, err, oom.ErrGone)
		require.True(t, ev.Gone)
	}
}

func testNoCheckpoint(t *testing.T, f Fixture) {
	for _, checkpoint := range []string{"", "null", "{}", "[]", `{"cgroup":"/../../etc"}`, `{"cgroup":7}`} {
		_, err := f.Source().(oom.Resumer).Resume([]byte(checkpoint))
		require.ErrorContains(t, err, f.Source().Name(), "%q", checkpoint)
	}
}
