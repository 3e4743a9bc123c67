package exit

import (
	"context"
	"testing"
	"time"

	tests "github.com/stretchr/testify/require"
)

// answers is the answer to a call, in a goroutine of its own.
type answers struct {
	reply     Reply
	oomStatus bool
	err       error
}

func calls(t *testing.T, l *Loop, call Call, by Instance) <-chan answers {
	t.Helper()
	c := make(chan answers, 1)
	go func() {
		var a answers
		a.reply, a.oomStatus, a.err = l.Answer(t.Context(), call, by)
		c <- a
	}()
	settle()
	return c
}

// Asked reports whether the caller finds the container, and whether that is a tombstone.
func TestLoopAsked(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, _ *fakeEffects) {
		finds, deleted := l.Asked(1)
		tests.True(t, finds)
		tests.False(t, deleted)
		l.Do(func(s *State) { s.BeginDelete(); s.EndDelete(true, 1) })
		finds, _ = l.Asked(1)
		tests.False(t, finds, "it has the answer")
		finds, deleted = l.Asked(2)
		tests.True(t, finds)
		tests.True(t, deleted)
	})
}

// A verdict comes in time for the status of the pod's choice until a tenth of the hold
// timeout is left.
func TestLoopStatusDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		own  bool
		at   time.Duration
		want bool
	}{
		"in time":         {true, hold*9/10 - time.Millisecond, true},
		"late":            {true, hold * 9 / 10, false},
		"no such choice":  {false, hold - time.Millisecond, true},
		"none, no choice": {false, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				l.Exited(tc.own)
				time.Sleep(tc.at)
				settle()
				l.Decided(true, 1)
				f.ends(nil)
				got := <-calls(t, l, WaitCall, 1)
				tests.Equal(t, answers{Exit, tc.want, nil}, got)
			})
		})
	}
}

// Decided reports whether the TaskOOM was acked before the verdict, by the instance that
// is there.
func TestLoopDecidedEarly(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*Loop, *fakeEffects)
		oom    bool
		want   bool
	}{
		"acked":          {func(l *Loop, f *fakeEffects) { l.Do((*State).VictimNamed); f.ends(nil) }, true, true},
		"acked, no OOM":  {func(l *Loop, f *fakeEffects) { l.Do((*State).VictimNamed); f.ends(nil) }, false, false},
		"under way":      {func(l *Loop, _ *fakeEffects) { l.Do((*State).VictimNamed) }, true, false},
		"no early one":   {func(*Loop, *fakeEffects) {}, true, false},
		"another is due": {func(l *Loop, f *fakeEffects) { l.Do((*State).VictimNamed); f.ends(nil); f.instance = 2 }, true, false},
		"another is under way": {func(l *Loop, f *fakeEffects) {
			l.Do(func(s *State) { s.KillSeen(1) })
			f.ends(nil)
			l.Do(func(s *State) { s.KillSeen(2) })
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				tc.before(l, f)
				settle()
				l.Exited(false)
				tests.Equal(t, tc.want, l.Decided(tc.oom, 2))
			})
		})
	}
}

// A Delete waits for the ack of the TaskExit, for no longer than the hold timeout, which
// begins with the release. No other call waits for that.
func TestLoopDeleteWaitsForTheTaskExit(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Do((*State).ExitPublished)
		waits, deletes := calls(t, l, WaitCall, 1), calls(t, l, DeleteCall, 1)
		time.Sleep(time.Second)
		released := time.Now()
		l.Decided(false, 0)
		tests.Equal(t, Exit, (<-waits).reply)
		time.Sleep(hold - time.Second) // the wait for the release would be over
		settle()
		tests.Empty(t, deletes)
		tests.Equal(t, Exit, (<-deletes).reply)
		tests.Equal(t, hold, time.Since(released))
		tests.Equal(t, []string{"the ack of TaskExit"}, f.expired)
	})
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Do((*State).ExitPublished)
		l.Decided(false, 0)
		deletes := calls(t, l, DeleteCall, 1)
		tests.Empty(t, deletes)
		f.ends(nil)
		tests.Equal(t, Exit, (<-deletes).reply)
		time.Sleep(2 * hold)
		tests.Empty(t, f.expired, "it was acked")
	})
}

// A call of an instance that is gone is let go where it lacks the TaskOOM, and answered
// where it lacks nothing.
func TestLoopAnswersAnInstanceThatIsGone(t *testing.T) {
	for name, tc := range map[string]struct {
		oom, acked bool
		want       answers
	}{
		"not OOM":              {false, false, answers{Exit, false, nil}},
		"OOM, not acked":       {true, false, answers{Hold, false, ErrGone}},
		"OOM, acked before":    {true, true, answers{Exit, true, nil}},
		"not OOM, acked early": {false, true, answers{Exit, false, nil}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				if tc.acked {
					l.Do((*State).VictimNamed)
					f.ends(nil)
					settle()
				}
				l.Exited(false)
				answered := calls(t, l, WaitCall, 1)
				f.set(func() { f.instance = 2 })
				l.Decided(tc.oom, 1)
				time.Sleep(2 * hold)
				tests.Equal(t, tc.want, <-answered)
			})
		})
	}
}

// Checkpoint returns when a checkpoint is written that was begun after the call.
func TestLoopCheckpoint(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		f.set(func() { f.hangs = true })
		l.Touch()
		written := make(chan struct{})
		go func() {
			defer close(written)
			l.Checkpoint(t.Context())
		}()
		settled := make(chan struct{})
		go func() {
			defer close(settled)
			l.Settle(t.Context())
		}()
		is := func(c chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		settle()
		tests.Len(t, f.records, 1, "one at a time")
		tests.False(t, is(written))
		tests.False(t, is(settled))
		f.writes()
		tests.Len(t, f.records, 2)
		tests.False(t, is(written), "that was the one before")
		f.writes()
		tests.True(t, is(written))
		tests.True(t, is(settled))
		tests.Len(t, f.records, 2)
	})
}

// Recorded returns when the checkpoint says that init has ended.
func TestLoopRecorded(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		f.set(func() { f.hangs = true })
		l.Touch()
		l.Exited(false)
		recorded := make(chan struct{}, 1)
		go func() {
			l.Recorded(t.Context())
			recorded <- struct{}{}
		}()
		f.writes()
		tests.Empty(t, recorded, "it was begun before the end")
		f.writes()
		tests.Len(t, recorded, 1)
		tests.Equal(t, []Record{{}, {Exited: true}}, f.records)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.Touch()
		since := time.Now()
		l.Checkpoint(ctx)
		tests.Equal(t, time.Second, time.Since(since), "the disk hangs")
	})
}
