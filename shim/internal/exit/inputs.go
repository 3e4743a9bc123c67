package exit

import (
	"context"
	"errors"
)

// ErrGone means that a reply is for a containerd instance that is not there any more.
var ErrGone = errors.New("the containerd instance that has asked is gone")

// Connected applies [State.Connected], and waits until the checkpoint says that nobody
// has received the TaskOOM any more.
func (l *Loop) Connected(ctx context.Context, by Instance) {
	l.Do(func(s *State) {
		if !s.Connected(by) {
			return
		}
		l.reconsider()
		l.after(l.hold, func() { s.StartOver(by) })
		if l.waits(by) { // it has asked before it connected
			l.asked(by)
		}
	})
	_ = l.Wait(ctx, func(s *State) bool { return !s.Stale() })
}

// Asked applies [State.Asked]. It reports whether the caller finds the container, and
// whether only its tombstone is left.
func (l *Loop) Asked(by Instance) (finds, deleted bool) {
	l.Do(func(s *State) {
		if finds, deleted = s.Finds(by), s.deletion == Deleted; !finds {
			return
		}
		if s.Strays(by) {
			l.after(l.hold, func() { s.Excuse(by) })
			return
		}
		l.asked(by)
	})
	return finds, deleted
}

func (l *Loop) asked(by Instance) {
	if l.s.Asked(by) {
		l.reconsider()
		l.after(RecoveryTime, func() { l.s.Recovered(by) })
	}
}

// Exited applies [State.Exited]. ownStatus says that the pod has chosen an exit status
// for an OOM.
func (l *Loop) Exited(ownStatus bool) {
	l.Do(func(s *State) {
		if !s.Exited() {
			return
		}
		if ownStatus {
			l.after(l.hold-l.hold/statusLead, s.StatusDeadline)
		}
		l.after(l.hold, func() {
			if !s.Released() {
				l.effects.Expired("the release")
			}
			s.HoldExpired()
		})
	})
}

// Decided applies [State.Decided] for the current instance. It reports whether an
// early TaskOOM was acked before.
func (l *Loop) Decided(oom bool, kills uint64) (early bool) {
	l.Do(func(s *State) {
		s.Decided(oom, kills, l.effects.Instance())
		early = oom && s.delivered != 0 && !s.pending && s.inFlight != TaskOOM
	})
	return early
}

// Answer waits for the reply to a call from an instance: Running or Exit. oomStatus
// says that the status of the pod's choice is reported.
func (l *Loop) Answer(ctx context.Context, call Call, by Instance) (reply Reply, oomStatus bool, err error) {
	var got struct { // the loop's own until wait returns nil
		Reply
		oomStatus, gone bool
	}
	err = l.wait(ctx, &waiting{by: by, deletes: call == DeleteCall, holds: func(s *State) bool {
		// The TaskOOM is for the instance that is there, and a dead one needs no reply.
		if got.gone = s.Released() && s.oom && s.delivered != by && l.effects.Instance() != by; got.gone {
			return true
		}
		got.Reply, got.oomStatus = s.Answer(call, by), s.ReportsOOM()
		return got.Reply != Hold
	}})
	if err != nil {
		return Hold, false, err
	}
	if got.gone {
		return Hold, false, ErrGone
	}
	return got.Reply, got.oomStatus, nil
}

// Checkpoint has a checkpoint written, and waits until it is, or ctx ends.
func (l *Loop) Checkpoint(ctx context.Context) {
	l.Touch()
	_ = l.Wait(ctx, func(*State) bool { return !l.dirty && !l.writing })
}

// Settle waits until no checkpoint is being written, or ctx ends.
func (l *Loop) Settle(ctx context.Context) {
	_ = l.Wait(ctx, func(*State) bool { return !l.writing })
}

// Recorded waits until the checkpoint says that init has ended, or ctx ends.
func (l *Loop) Recorded(ctx context.Context) {
	_ = l.Wait(ctx, func(s *State) bool { return s.saved.Exited })
}

// Touch has a checkpoint written.
func (l *Loop) Touch() { l.Do(func(*State) { l.dirty = true }) }
