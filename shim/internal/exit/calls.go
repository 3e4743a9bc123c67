package exit

// Call is a call that may show the exit.
type Call uint8

// The calls.
const (
	StateCall Call = iota
	WaitCall
	DeleteCall
)

// Reply is what a call may get.
type Reply uint8

// The replies.
const (
	Hold    Reply = iota // ask again after the next input
	Running              // the container runs, as far as the caller may know
	Exit                 // the exit
)

// Answer returns what a call of the current instance cur may get now, after
// [State.Asked]. Where the instance has not received the TaskOOM, Answer republishes it. The
// reply Exit fixes the reported status.
//
// To an instance that recovers containers State replies Running until a Wait has
// shown the exit: CRI deletes a container on the spot that State calls stopped, and
// gives all containers of the node 10 s together (containerd 2.4,
// internal/cri/server/restart.go).
func (s *State) Answer(call Call, cur Instance) Reply {
	if !s.exited && call == StateCall {
		return Running
	}
	ready := s.ready(cur)
	if call == StateCall && s.recovering == cur && s.deletion != Deleted {
		return Running
	}
	if !ready || call == DeleteCall && !s.exitAcked && !s.exitOver {
		return Hold
	}
	s.StatusDeadline()
	if call == WaitCall {
		s.Recovered(cur)
	}
	return Exit
}

// ready reports whether the exit is released and the current instance has received
// all that belongs ahead of the exit.
func (s *State) ready(cur Instance) bool {
	if !s.visible {
		return false
	}
	if !s.oom || s.delivered == cur {
		return true
	}
	if s.isSubscribed(cur) {
		s.owe()
	}
	return s.excused == cur
}

// ReportsOOM reports whether the exit status of the pod's choice is reported for an
// OOM, and not the true one.
func (s *State) ReportsOOM() bool { return s.oom && !s.trueOnly }

// BeginDelete notes that the container is to be removed. It reports whether the
// caller is to do so: else a removal is under way, and the caller joins it.
func (s *State) BeginDelete() (first bool) {
	if s.deletion != NotDeleted {
		s.joined = true
		return false
	}
	s.deletion, s.joined = Deleting, false
	return true
}

// EndDelete notes the end of a removal. by is the instance that has asked for it, and
// 0 where that may have given up before the answer. A removal that failed may be
// tried again.
func (s *State) EndDelete(ok bool, by Instance) {
	if !ok {
		s.deletion = NotDeleted
		return
	}
	s.deletion, s.answered = Deleted, by
	if s.joined {
		s.answered = 0
	}
}

// Unanswered notes that the answer to Delete may not have been read.
func (s *State) Unanswered() { s.answered = 0 }

// Deleted reports whether only the tombstone is left.
func (s *State) Deleted() bool { return s.deletion == Deleted }

// Leaves reports whether a removal is under way that is to show the exit first.
func (s *State) Leaves() bool { return s.deletion == Deleting && !s.exited }

// Finds reports whether a look-up by an instance finds the container: also after its
// removal, unless that instance has had the answer.
func (s *State) Finds(by Instance) bool { return s.deletion != Deleted || s.answered != by }
