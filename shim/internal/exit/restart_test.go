package exit

import (
	"context"
	"testing"
	"time"

	tests "github.com/stretchr/testify/require"
)

// An event that is being sent stays under way while another instance starts.
func TestLoopDoesNotTakeBackWhatIsSent(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Decided(true, 1)
		f.set(func() { f.instance = 2 })
		l.Connected(t.Context(), 2)
		f.ends(nil)
		tests.Equal(t, []Event{TaskOOM}, f.events())
		l.Do(func(s *State) { tests.True(t, s.Released()) })
	})
}

// A call ahead of the Connect of its instance is looked at again when that has connected,
// if somebody waits for it still.
func TestLoopStrayCall(t *testing.T) {
	for name, waits := range map[string]bool{"waits": true, "is gone": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				f.set(func() { f.instance = 2 })
				l.Exited(false)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() {
					l.Asked(2)
					_, _, err := l.Answer(ctx, WaitCall, 2)
					ended <- err
				}()
				settle()
				if !waits {
					cancel()
					tests.Error(t, <-ended)
				}
				l.Connected(t.Context(), 2)
				l.Decided(true, 1)
				if !waits {
					tests.Empty(t, f.events(), "2 may not be subscribed")
					return
				}
				tests.Equal(t, []Event{TaskOOM}, f.events())
				f.ends(nil)
				tests.NoError(t, <-ended)
			})
		})
	}
}

// An instance that asks after the release is held for its TaskOOM, for the hold timeout.
func TestLoopExcusesALateInstance(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Decided(true, 1)
		f.ends(nil)
		time.Sleep(3 * hold)
		f.set(func() { f.instance = 2 })
		l.Connected(t.Context(), 2)
		time.Sleep(time.Second)
		l.Asked(2)
		since := time.Now()
		reply, _, err := l.Answer(t.Context(), WaitCall, 2)
		tests.NoError(t, err)
		tests.Equal(t, Exit, reply)
		tests.Equal(t, hold, time.Since(since))
	})
}
