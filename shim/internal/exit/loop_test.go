package exit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tests "github.com/stretchr/testify/require"
)

const hold = 5 * time.Second

// fakeEffects carries out nothing by itself.
type fakeEffects struct {
	mu        sync.Mutex // guards what follows
	instance  Instance
	sent      []Event
	end       chan error // of the event under way
	withdraws bool
	hangs     bool     // the disk
	unwritten []func() // the checkpoints that the disk hangs on
	records   []Record // what was to be written
	points    []string
	expired   []string
}

// settle waits until the loop has done all that it can, an event that gives way to an
// answer included.
func settle() {
	time.Sleep(giveWay)
	synctest.Wait()
}

// set changes what the effects do from now on.
func (f *fakeEffects) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// events returns what was sent, once the loop has done all that it can.
func (f *fakeEffects) events() []Event {
	settle()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sent)
}

// ends is the end of the event under way.
func (f *fakeEffects) ends(err error) {
	settle()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.end == nil {
		panic("no event is under way")
	}
	f.end <- err
}

func (f *fakeEffects) Instance() Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.instance
}

func (f *fakeEffects) Withdraw() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.withdraws
}

func (f *fakeEffects) At(point string) {
	f.set(func() { f.points = append(f.points, point) })
}

func (f *fakeEffects) Expired(what string) {
	f.set(func() { f.expired = append(f.expired, what) })
}

func (f *fakeEffects) Send(e Event, _ Instance, _ bool) <-chan error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, e)
	f.end = make(chan error, 1)
	return f.end
}

func (f *fakeEffects) Checkpoint(r Record, done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = append(f.records, r)
	if f.hangs {
		f.unwritten = append(f.unwritten, done)
		return
	}
	go done()
}

// writes has the disk write the oldest checkpoint that it hangs on.
func (f *fakeEffects) writes() {
	settle()
	f.mu.Lock()
	done := f.unwritten[0]
	f.unwritten = f.unwritten[1:]
	f.mu.Unlock()
	done()
	settle()
}

// run runs a test in a bubble, whose clock is not the one that ends a loop without an end.
func run(t *testing.T, f func(*testing.T, *Loop, *fakeEffects)) {
	t.Helper()
	endless := time.AfterFunc(20*time.Second, func() { panic("the loop does not come to rest") })
	defer endless.Stop()
	synctest.Test(t, func(t *testing.T) {
		effects := &fakeEffects{instance: 1}
		l := NewLoop(New(1, true), hold, effects)
		defer l.Close()
		f(t, l, effects)
	})
}

// An OOM is held until its TaskOOM is acked.
func TestLoopHolds(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Decided(true, 1)
		answered := make(chan Reply, 1)
		go func() {
			reply, _, err := l.Answer(t.Context(), WaitCall, 1)
			tests.NoError(t, err)
			answered <- reply
		}()
		tests.Equal(t, []Event{TaskOOM}, f.events())
		tests.Empty(t, answered)
		f.ends(nil)
		tests.Equal(t, Exit, <-answered)
		tests.Empty(t, f.expired)
	})
}

// What hangs holds an exit for the hold timeout: the evidence, the disk, containerd.
func TestLoopExpires(t *testing.T) {
	for name, decided := range map[string]bool{"evidence": false, "disk and containerd": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				f.set(func() { f.hangs = true })
				l.Exited(false)
				if decided {
					l.Decided(true, 1)
				}
				since := time.Now()
				reply, _, err := l.Answer(t.Context(), WaitCall, 1)
				tests.NoError(t, err)
				tests.Equal(t, Exit, reply)
				tests.Equal(t, hold, time.Since(since))
				tests.Equal(t, []string{"the release"}, f.expired)
			})
		})
	}
}

// A caller goes when its context ends, when its instance is gone, and with the loop.
func TestLoopLetsGo(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.Exited(false)
		_, _, err := l.Answer(ctx, WaitCall, 1)
		tests.ErrorIs(t, err, context.DeadlineExceeded)

		gone := make(chan error, 1)
		go func() {
			_, _, err := l.Answer(t.Context(), WaitCall, 1)
			gone <- err
		}()
		settle()
		f.set(func() { f.instance, f.withdraws = 2, true })
		l.Decided(true, 1)
		time.Sleep(hold)
		tests.ErrorIs(t, <-gone, ErrGone)

		go func() { gone <- l.Wait(t.Context(), func(*State) bool { return false }) }()
		settle()
		l.Close()
		tests.ErrorIs(t, <-gone, ErrEnded)
		tests.False(t, l.Do(func(*State) {}))
		_, _, err = l.Answer(t.Context(), WaitCall, 1)
		tests.ErrorIs(t, err, ErrEnded)
	})
}

// An event that another instance would get is decided on again: while that starts, it
// waits.
func TestLoopReconsiders(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Decided(true, 1)
		f.set(func() { f.instance = 2 })
		f.ends(errors.New("another instance"))
		tests.Equal(t, []Event{TaskOOM, TaskOOM}, f.events())
		f.set(func() { f.withdraws = true })
		l.Connected(t.Context(), 2)
		tests.Len(t, f.events(), 2)
		l.Asked(2)
		tests.Len(t, f.events(), 3)
	})
}

// The points at which a test build can have the process die come in the order of what
// happens.
func TestLoopPoints(t *testing.T) {
	for name, tc := range map[string]struct {
		early, oom bool
		want       []string
	}{
		"OOM":     {false, true, []string{"TaskOOM acked", "acked", "before the release", "released"}},
		"early":   {true, true, []string{"TaskOOM acked", "acked", "before the release", "released"}},
		"not OOM": {false, false, []string{"before the release", "released"}},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
				if tc.early {
					l.Do((*State).VictimNamed)
					f.ends(nil)
					settle()
					tests.Equal(t, tc.want[:1], f.points)
				}
				l.Exited(false)
				l.Do((*State).ExitPublished)
				l.Decided(tc.oom, 1)
				if tc.oom && !tc.early {
					f.ends(nil)
				}
				f.ends(nil) // of the TaskExit
				settle()
				tests.Equal(t, tc.want, f.points)
			})
		})
	}
}

// A loop that retires goes on until its events are acked.
func TestLoopRetires(t *testing.T) {
	run(t, func(t *testing.T, l *Loop, f *fakeEffects) {
		l.Exited(false)
		l.Decided(false, 0)
		l.Do((*State).ExitPublished)
		l.Do(func(s *State) { s.BeginDelete(); s.EndDelete(true, 1) })
		l.Retire()
		tests.Equal(t, []Event{TaskExit}, f.events())
		f.ends(nil)
		settle()
		tests.Equal(t, []Event{TaskExit, TaskDelete}, f.events())
		f.ends(nil)
		<-l.Ended()
	})
}
