package exit

import (
	"context"
	"errors"
	"slices"
	"time"
)

// RecoveryTime is what CRI gives a container to be recovered, and all of them together
// since it recovers them at the same time (containerd 2.4,
// internal/cri/server/restart.go).
const RecoveryTime = 10 * time.Second

// statusLead is the part of the hold timeout, from its end, in which a verdict comes too
// late for another status: it is the time to write that into the checkpoint.
const statusLead = 10

// ErrEnded means that the loop has been closed.
var ErrEnded = errors.New("the exit loop has ended")

// giveWay is how long the TaskExit waits after the release, and after an answer that
// shows the exit. A shim has one processor: to encode and to send the event first would take
// longer than the answer does, and somebody waits for the answer. Who deletes waits for
// the event.
const giveWay = 200 * time.Microsecond

// Effects carries out what a State asks for. A Loop calls its methods from its own
// goroutine, one at a time. None of them may wait for anything.
type Effects interface {
	// Instance returns the current containerd instance.
	Instance() Instance
	// Send hands an event to delivery, for that instance alone. oomStatus says that the
	// status of the pod's choice is reported. The channel gets one value: nil when
	// containerd has acked the event, an error when the event was not sent.
	Send(e Event, to Instance, oomStatus bool) <-chan error
	// Withdraw takes the event under way back, and reports whether it did: not when the
	// event is being sent, or was.
	Withdraw() bool
	// Checkpoint writes a checkpoint in the background, and calls done when it is
	// written or given up.
	Checkpoint(r Record, done func())
	// At is called at the points at which a test build can have the process die.
	At(point string)
	// Expired is called with the name of the time that has passed while the exit was held.
	Expired(what string)
}

// Loop owns a State. One goroutine applies the inputs, one after the other, and
// carries out the effects. The methods may be called concurrently.
type Loop struct {
	effects Effects
	hold    time.Duration
	inputs  chan func()
	ended   chan struct{}
	closed  context.CancelFunc

	// The goroutine's own.
	s        State
	waiting  []*waiting
	underWay <-chan error // the event under way
	writing  bool         // a checkpoint is being written
	dirty    bool         // the checkpoint lacks something that is not in the Record
	retired  bool         // the loop ends when it has nothing to send
	late     Instance     // whose excuse is timed
	exitWait bool         // the wait for the ack of TaskExit is timed
	visible  bool         // the release has been seen to
	early    bool         // an early TaskOOM was acked
	quiet    time.Time    // TaskExit waits until then
}

// waiting is somebody who waits until a condition holds.
type waiting struct {
	holds   func(*State) bool
	by      Instance // that has called; 0 for the shim itself
	deletes bool     // a Delete, which does not wait for ever for the ack of TaskExit
	done    chan struct{}
	gone    <-chan struct{}
}

// left reports whether nobody waits any more.
func (w *waiting) left() bool {
	select {
	case <-w.gone:
		return true
	default:
		return false
	}
}

// NewLoop starts the loop of a container. hold is the hold timeout. Close ends the
// loop.
func NewLoop(s State, hold time.Duration, effects Effects) *Loop {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Loop{
		effects: effects, hold: hold, s: s,
		inputs: make(chan func()), ended: make(chan struct{}), closed: cancel,
	}
	go l.run(ctx)
	return l
}

// Close ends the loop. Who waits gets ErrEnded.
func (l *Loop) Close() { l.closed() }

// Retire ends the loop when all events that are due have been acked.
func (l *Loop) Retire() { l.apply(func() { l.retired = true }) }

// Ended is closed when the loop has ended.
func (l *Loop) Ended() <-chan struct{} { return l.ended }

func (l *Loop) run(ctx context.Context) {
	defer close(l.ended)
	for {
		select {
		case input := <-l.inputs:
			input()
		case err := <-l.underWay:
			l.sent(err)
		case <-ctx.Done():
			return
		}
		l.advance()
		if l.retired && l.s.Drained() && !l.writing {
			return
		}
	}
}

// sent notes the end of the event under way.
func (l *Loop) sent(err error) {
	l.underWay = nil
	if err != nil {
		l.s.NotSent()
		return
	}
	if l.s.InFlight() == TaskOOM {
		l.effects.At("TaskOOM acked")
	}
	if l.s.InFlight() == TaskOOM && l.s.exited {
		l.effects.At("acked")
	}
	l.early = l.early || l.s.InFlight() == TaskOOM && !l.s.exited
	l.s.Acked()
}

// reconsider takes the event under way back, since it may be due later now, or be for
// somebody who is subscribed.
func (l *Loop) reconsider() {
	if l.underWay != nil && l.effects.Withdraw() {
		l.underWay = nil
		l.s.NotSent()
	}
}

// advance carries out what the State asks for now.
func (l *Loop) advance() {
	if (l.dirty || l.s.Stale()) && !l.writing {
		l.checkpoint()
	}
	released := l.s.Released() && !l.visible
	if released {
		l.visible = true
		if l.early {
			l.effects.At("acked")
		}
		l.effects.At("before the release")
	}
	if answered := l.answer(); released || answered && l.visible {
		l.quiet = time.Now().Add(giveWay)
		l.after(giveWay, func() {})
	}
	if released {
		l.effects.At("released")
	}
	if l.s.Due() && (l.s.exitAcked || l.deletes() || !time.Now().Before(l.quiet)) {
		to := l.effects.Instance()
		if e := l.s.Next(to); e != NoEvent {
			l.underWay = l.effects.Send(e, to, l.s.ReportsOOM())
		}
	}
	if late := l.s.Late(); late != l.late {
		l.late = late
		l.after(l.hold, func() { l.s.Excuse(late) })
	}
}

func (l *Loop) checkpoint() {
	r := l.s.Record()
	l.writing, l.dirty = true, false
	l.effects.Checkpoint(r, func() {
		l.Do(func(s *State) {
			l.writing = false
			s.Checkpointed(r)
		})
	})
}

// answer lets everybody go whose condition holds, and forgets who has gone. It reports
// whether calls of containerd instances were among them. These go last: of the goroutines
// that can run, Go's scheduler takes the newest first.
func (l *Loop) answer() bool {
	var calls []*waiting
	rest := l.waiting[:0]
	for _, w := range l.waiting {
		if w.left() {
			continue
		}
		if w.holds(&l.s) {
			if w.by == 0 {
				close(w.done)
			} else {
				calls = append(calls, w)
			}
			continue
		}
		rest = append(rest, w)
		if w.deletes && l.visible && !l.exitWait {
			l.exitWait = true
			l.after(l.hold, func() {
				if !l.s.exitAcked {
					l.effects.Expired("the ack of TaskExit")
				}
				l.s.ExitOver()
			})
		}
	}
	clear(l.waiting[len(rest):])
	l.waiting = rest
	for _, w := range calls {
		close(w.done)
	}
	return len(calls) > 0
}

// waits reports whether a call of an instance waits.
func (l *Loop) waits(by Instance) bool {
	return slices.ContainsFunc(l.waiting, func(w *waiting) bool { return w.by == by && !w.left() })
}

// deletes reports whether a Delete waits.
func (l *Loop) deletes() bool {
	return slices.ContainsFunc(l.waiting, func(w *waiting) bool { return w.deletes })
}

// after applies an input later.
func (l *Loop) after(d time.Duration, input func()) {
	time.AfterFunc(d, func() { l.apply(input) })
}

// apply has the goroutine apply an input, and reports whether it did.
func (l *Loop) apply(input func()) bool {
	applied := make(chan struct{})
	select {
	case l.inputs <- func() { input(); close(applied) }:
		<-applied
		return true
	case <-l.ended:
		return false
	}
}

// Do applies an input to the State. It reports whether it did: not after Close.
func (l *Loop) Do(input func(*State)) bool { return l.apply(func() { input(&l.s) }) }

// Wait waits until a condition of the State holds, ctx ends or the loop is closed.
func (l *Loop) Wait(ctx context.Context, holds func(*State) bool) error {
	return l.wait(ctx, &waiting{holds: holds})
}

func (l *Loop) wait(ctx context.Context, w *waiting) error {
	w.done, w.gone = make(chan struct{}), ctx.Done()
	if !l.apply(func() {
		l.waiting = append(l.waiting, w)
		l.asked(w.by) // it may have connected since the call began
	}) {
		return ErrEnded
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return ErrEnded
	}
}
