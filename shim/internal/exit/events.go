package exit

// Event is an event of a container that is in order with the exit.
type Event uint8

// The events, in the order in which containerd gets them.
const (
	NoEvent Event = iota
	TaskOOM
	TaskExit
	TaskDelete
)

// ExitPublished notes that upstream has published the TaskExit of init.
func (s *State) ExitPublished() { s.exitDue = true }

// ExitOver notes that nobody waits for the ack of the TaskExit any more.
func (s *State) ExitOver() { s.exitOver = true }

// InFlight returns the event under way.
func (s *State) InFlight() Event { return s.inFlight }

// Due reports whether Next may return an event.
func (s *State) Due() bool {
	return s.inFlight == NoEvent && (s.pending || s.exitDue && !s.exitAcked && s.visible || s.deletion == Deleted && !s.deleteSent)
}

// Drained reports whether no event is due or under way, or will be by itself.
func (s *State) Drained() bool {
	return s.inFlight == NoEvent && !s.pending && s.exitDue == s.exitAcked && (s.deletion != Deleted || s.deleteSent)
}

// Next returns the event that is to be handed to delivery for the current instance
// cur, and for no other, or NoEvent. One event is under way at a time: until
// [State.Acked] or [State.NotSent] Next returns NoEvent.
//
// A TaskOOM goes ahead of the TaskExit, and is republished where another instance runs
// by now. While an instance starts, both events wait until the instance is subscribed.
func (s *State) Next(cur Instance) Event {
	if s.inFlight != NoEvent || s.Starting(cur) {
		return NoEvent
	}
	exit := s.exitDue && !s.exitAcked && s.visible
	if s.pending || exit && s.oom && s.lacks(cur) {
		s.pending = false
		return s.send(TaskOOM, cur)
	}
	if exit {
		s.StatusDeadline()
		return s.send(TaskExit, cur)
	}
	if s.deletion == Deleted && !s.deleteSent && (s.exitAcked || s.exitOver || !s.exited) {
		return s.send(TaskDelete, cur)
	}
	return NoEvent
}

func (s *State) send(e Event, cur Instance) Event {
	s.inFlight, s.to, s.subscribed = e, cur, s.isSubscribed(cur)
	return e
}

// Acked notes that containerd has acked the event under way.
func (s *State) Acked() {
	e, to, subscribed := s.inFlight, s.to, s.subscribed
	s.inFlight, s.to, s.subscribed = NoEvent, 0, false
	switch e {
	case TaskOOM:
		s.acked = to
		if subscribed {
			s.delivered = to
		}
		// The instance may have subscribed meanwhile, too late for this TaskOOM.
		if !subscribed && s.isSubscribed(to) {
			s.pending = true
		}
	case TaskExit:
		s.exitAcked = true
	case TaskDelete:
		s.deleteSent = true
	}
	s.release()
}

// NotSent notes that the event under way was not sent, since the instance that it was
// for is gone.
func (s *State) NotSent() {
	if s.inFlight == TaskOOM {
		s.pending = true
	}
	s.inFlight, s.to, s.subscribed = NoEvent, 0, false
}
