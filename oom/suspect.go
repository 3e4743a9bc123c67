package oom

import "time"

// sameMoment is how far apart two accounts of one kill may be: each is made from the
// kernel's clock when it is read.
const sameMoment = 10 * time.Millisecond

// sureAfter is how much later than an exit a kill must be to come after init's end for
// sure. containerd's reaper reads its clock before it waits for the processes that have
// ended (containerd v2.4.2 pkg/sys/reaper/reaper_unix.go, Reap): a kill that the exit
// follows from may bear the later time of the two.
const sureAfter = 100 * time.Millisecond

// outlived reports whether the victim of a kill at that time has outlived init.
func (e Exit) outlived(kill time.Time) bool {
	return !e.At.IsZero() && kill.Sub(e.At) > sureAfter
}

// suspect is the newest kill that may have ended init: of a descendant of init, or of a
// process whose lineage is not known. The kills of exec'd processes are none, and those
// of processes that have outlived init, or were killed when it was ending.
type suspect struct {
	victim *Victim   // nil if the kill was counted without a name
	at     time.Time // no earlier than the kill
	nth    uint64    // how many kills there were with this one
}

// suspectOf returns the newest suspect, false if there is none. exec reports whether an
// exec'd process was killed before init's end.
//
// An init that is a victim, though the OOM killer has not ended it, had called exit or was
// dumping its core at that OOM event: a group kill takes such a process too, and the kernel
// drops the SIGKILL (kernel/signal.c, prepare_signal).
//
// Victims are the newest kills. So the kills without a name are older, unless the newest
// kill is no named victim's. Those of exec'd processes are none.
func suspectOf(e Evidence, end Exit) (s suspect, found, exec bool) {
	named := uint64(len(e.Victims))
	init := e.InitVictim()
	for i := range e.Victims {
		v := &e.Victims[i]
		if end.outlived(v.At) || e.Init != Yes && init != nil && v.Seq >= init.Seq {
			continue
		}
		if v.Lineage == LineageExec {
			exec = true
			continue
		}
		s, found = suspect{v, v.At, max(e.Kills, named) - named + uint64(i) + 1}, true
	}
	if e.Kills <= named+e.Execs {
		return s, found, exec
	}
	unnamed := suspect{at: e.Last, nth: e.Kills}
	if named > 0 && e.Last.Sub(e.Victims[named-1].At) <= sameMoment {
		unnamed = suspect{at: e.Victims[0].At, nth: e.Kills - named}
	}
	if !found || unnamed.at.After(s.at) {
		s = unnamed
	}
	return s, true, exec
}

// after reports whether the kill came after the request of a stop. Where the time of
// the kill or of the request is not exact, the count decides as well.
func (s suspect) after(stop Stop) bool {
	counted := s.nth > stop.Kills
	if stop.At.IsZero() {
		return counted
	}
	return s.at.After(stop.At) && (counted || s.victim != nil)
}
