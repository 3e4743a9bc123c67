package exit

// Instance numbers the containerd processes that the shim has seen: a later process
// has a larger number. 0 stands for none.
type Instance uint32

// AllKills is a count of kills that stands for every kill of a container, those to
// come included.
const AllKills = ^uint64(0)

// State is the exit of one container run. New returns a container that runs. A State
// is not safe for concurrent use: one goroutine owns it.
type State struct {
	waited bool // CRI waits for the container

	// The containerd instances.
	asked       Instance // the newest that created the container or has asked for the task
	connected   Instance // the newest that has connected and had not asked before
	startOver   bool     // the start time of connected has passed
	loading     bool     // connected has not asked for the Pids yet
	recovering  Instance // gets RUNNING from State, until a Wait is answered
	sinceBefore bool     // asked had asked before init ended

	// The exit.
	exited   bool
	decided  bool
	oom      bool     // the verdict is OOM; set with decided
	trueOnly bool     // the true status is reported whatever the verdict
	visible  bool     // the exit may be seen, from now on
	excused  Instance // may see the exit without the TaskOOM
	saved    Record   // what the checkpoint says

	// The events.
	announced uint64 // kills that the TaskOOMs so far stand for
	pending   bool   // a TaskOOM is due
	inFlight  Event  // was handed to delivery, with to and subscribed
	to        Instance
	subscribed,
	exitDue, exitAcked, exitOver, deleteSent bool
	acked     Instance // acked the newest TaskOOM
	delivered Instance // acked the newest TaskOOM and was subscribed

	// The removal.
	deletion Deletion
	joined   bool
	answered Instance // has the answer to Delete; 0 where nobody is sure to have it
}

// Deletion is how far the removal of a container is.
type Deletion uint8

// The stages of a removal.
const (
	NotDeleted Deletion = iota
	Deleting            // runc is at work
	Deleted             // only the tombstone answers
)

// New returns the State of a container that the containerd instance by has created.
// waited says that CRI waits for the container, so that somebody asks for its task
// after each restart.
func New(by Instance, waited bool) State { return State{waited: waited, asked: by} }

// Connected notes a Connect from an instance. containerd sends it also ahead of each
// Wait: only the first one of an instance that has not asked yet means a start.
// Connected reports whether it was that: then the start time of the instance begins.
func (s *State) Connected(by Instance) (starts bool) {
	if by <= s.asked || by <= s.connected {
		return false
	}
	s.connected, s.startOver, s.loading = by, false, true
	s.release()
	return true
}

// StartOver notes that the start time of an instance has passed: an instance that
// has not asked by then never will, and its clients have subscribed.
func (s *State) StartOver(by Instance) {
	if s.connected == by {
		s.startOver = true
	}
}

// PidsAsked notes a Pids from an instance. It reports whether that is the Pids with
// which an instance that starts ends its look at the shim: the instance wants to know
// only whether there is a process at all.
func (s *State) PidsAsked(by Instance) (last bool) {
	last = s.loading && by == s.connected
	s.loading = s.loading && !last
	return last
}

// Asked notes a call of State, Wait or Delete from an instance. It reports whether
// that is the first call of an instance that has not created the container: then the
// recovery time of the instance begins. An instance connects before it asks: a call
// without that was under way when the instance before died.
func (s *State) Asked(by Instance) (first bool) {
	if by <= s.asked || s.Strays(by) {
		return false
	}
	s.asked, s.sinceBefore = by, !s.exited
	s.startOver = false // an instance that has asked is subscribed
	if s.excused == by {
		s.excused = 0 // for a call ahead of its Connect
	}
	if s.waited {
		s.recovering = by
	}
	s.release()
	return true
}

// Recovered notes that an instance has had the answer to a Wait, or that its recovery
// time has passed.
func (s *State) Recovered(by Instance) {
	if s.recovering == by {
		s.recovering = 0
	}
}

// KillSeen publishes TaskOOM for a container that runs on. kills counts all its OOM
// kills so far. A TaskOOM that is due already stands for them all.
func (s *State) KillSeen(kills uint64) {
	if s.exited || kills <= s.announced {
		return
	}
	s.owe()
	s.announced = kills
}

// owe publishes TaskOOM, unless one is under way.
func (s *State) owe() {
	if s.inFlight != TaskOOM {
		s.pending = true
	}
}

// VictimNamed publishes the early TaskOOM: the ledger says that the OOM killer has
// killed init, which has not been reaped yet.
func (s *State) VictimNamed() { s.KillSeen(AllKills) }

// Exited notes that init was reaped. It reports whether that is news: then evidence
// is to be collected, and the hold timeout begins.
func (s *State) Exited() (first bool) {
	first = !s.exited
	if first {
		s.exited, s.sinceBefore = true, true
	}
	return first
}

// Decided notes the verdict, and publishes TaskOOM where the verdict is OOM, unless
// the current instance cur has a TaskOOM for the kills, or will have.
func (s *State) Decided(oom bool, kills uint64, cur Instance) {
	s.decided, s.oom = true, oom
	if oom && (s.announced < max(kills, 1) || s.lacks(cur)) {
		s.owe()
	}
	s.release()
}

// release releases the exit if the verdict is known. Where the verdict is OOM, the
// checkpoint must say so, and the TaskOOM be acked. Another verdict is found again from
// the exit that is on record.
func (s *State) release() {
	due := s.oom && (s.pending || s.inFlight == TaskOOM || s.Stale())
	if s.decided && s.saved.Exited && !due {
		s.visible = true
	}
}

// StatusDeadline notes that a verdict comes too late from now on to change the
// reported status.
func (s *State) StatusDeadline() {
	if !s.decided {
		s.trueOnly = true
	}
}

// HoldExpired releases the exit, whatever is missing. It also excuses the instance
// that has been held for all that time.
func (s *State) HoldExpired() {
	s.visible = true
	if s.sinceBefore {
		s.excused = s.asked
	}
}

// Late returns the instance that is held after the release, since it has asked only
// after init had ended and has not received the TaskOOM; 0 for none. After the hold
// timeout it is to be excused.
func (s *State) Late() Instance {
	if s.visible && s.oom && !s.sinceBefore && s.delivered != s.asked && s.excused != s.asked {
		return s.asked
	}
	return 0
}

// Strays reports whether a call comes from an instance that has not connected.
func (s *State) Strays(by Instance) bool { return by > s.asked && by != s.connected }

// Excuse lets an instance see the exit without the TaskOOM.
func (s *State) Excuse(by Instance) { s.excused = max(s.excused, by) }

// Starting reports whether an instance may not be subscribed yet, and is worth waiting
// for.
func (s *State) Starting(by Instance) bool {
	return by == s.connected && by != s.asked && !s.startOver
}

// isSubscribed reports whether an event that is sent to an instance now reaches its
// clients.
func (s *State) isSubscribed(to Instance) bool {
	return to == s.asked || !s.waited && to == s.connected && s.startOver
}

// lacks reports whether the TaskOOM must be republished to an instance. The ack of an
// instance that is subscribed by now counts only if the instance was subscribed then.
func (s *State) lacks(by Instance) bool {
	if s.isSubscribed(by) {
		return s.delivered != by
	}
	return s.acked != by
}

// Released reports whether the exit may be seen. One instance may still have to wait
// for its TaskOOM.
func (s *State) Released() bool { return s.visible }
