package exit

// Record is the part of a State that a checkpoint keeps for the time when the shim is
// dead.
type Record struct {
	Exited, Decided, OOM bool
	// Acked says that the newest containerd has received the TaskOOM.
	Acked bool
	// TrueOnly says that the true status may have been reported.
	TrueOnly bool
}

// Record returns what a checkpoint is to say now. While it differs from what
// [State.Checkpointed] has noted, a checkpoint is to be written.
func (s *State) Record() Record {
	newest := max(s.asked, s.connected)
	return Record{
		Exited: s.exited, Decided: s.decided, OOM: s.oom, TrueOnly: s.trueOnly,
		Acked: s.delivered != 0 && s.delivered == newest && !s.pending,
	}
}

// Checkpointed notes that a checkpoint of r was written, or was given up: the exit
// does not wait for a disk that hangs or is full.
func (s *State) Checkpointed(r Record) {
	s.saved = r
	s.release()
}

// Stale reports whether a checkpoint is to be written.
func (s *State) Stale() bool { return s.saved != s.Record() }

// Due reports whether the process that removes the container of a dead shim is to
// publish TaskOOM.
func (r Record) Due() bool { return r.Decided && r.OOM && !r.Acked }
