package exit

import (
	"testing"

	tests "github.com/stretchr/testify/require"
)

// received is a container that runs, created by instance 1, whose early TaskOOM was acked.
func received() State {
	s := New(1, true)
	s.VictimNamed()
	s.Next(1)
	s.Acked()
	return s
}

// A timer may be late: what it says is of an instance that is not there any more.
func TestATimerOfAnotherInstance(t *testing.T) {
	s := New(1, true)
	tests.True(t, s.Connected(3))
	s.StartOver(2)
	tests.True(t, s.Starting(3))
	s.StartOver(3)
	tests.False(t, s.Starting(3))

	tests.True(t, s.Asked(3))
	s.Exited()
	s.Recovered(2)
	tests.Equal(t, Running, s.Answer(StateCall, 3))
	s.Recovered(3)
	tests.Equal(t, Hold, s.Answer(StateCall, 3))
	s.Excuse(2)
	s.Decided(true, 1, 3)
	s.HoldExpired()
	tests.Equal(t, Exit, s.Answer(StateCall, 3), "3 had asked before the exit, and is excused")
}

// A Connect ahead of a Wait is no start, nor is one of an instance that is gone.
func TestConnectedAgain(t *testing.T) {
	s := New(2, true)
	tests.False(t, s.Connected(2), "the instance that created the container")
	tests.False(t, s.Connected(1))
	tests.True(t, s.Connected(4))
	tests.False(t, s.Connected(4))
	tests.False(t, s.Connected(3))
	tests.True(t, s.PidsAsked(4))
	tests.False(t, s.PidsAsked(4), "once")
	tests.False(t, s.PidsAsked(2))
	tests.False(t, s.Asked(3), "it is gone")
	tests.False(t, s.Strays(2), "the instance that created the container")
	tests.True(t, s.Strays(5), "a call ahead of the Connect")
	tests.False(t, s.Asked(5))
	tests.True(t, s.Asked(4))
	tests.False(t, s.Asked(4), "once")
	tests.False(t, s.Strays(4))
}

// TaskOOM is published once for the same kills, and not after the exit, where the verdict
// publishes it.
func TestKillSeen(t *testing.T) {
	s := New(1, true)
	s.KillSeen(0)
	tests.False(t, s.Due())
	s.KillSeen(1)
	tests.Equal(t, TaskOOM, s.Next(1))
	s.KillSeen(2) // while one is under way, which stands for it
	s.Acked()
	tests.False(t, s.Due())
	s.KillSeen(2)
	tests.False(t, s.Due())
	s.KillSeen(3)
	tests.Equal(t, TaskOOM, s.Next(1))
	s.NotSent()
	tests.Equal(t, TaskOOM, s.Next(1), "once more")
	s.Acked()
	s.Exited()
	s.KillSeen(4)
	tests.False(t, s.Due())
	s.Decided(true, 3, 1)
	tests.False(t, s.Due(), "the TaskOOM of the third kill stands for the verdict")
}

// Late is who has asked only after the exit and has not received the TaskOOM.
func TestLate(t *testing.T) {
	s := received()
	tests.Zero(t, s.Late(), "it runs")
	s.Exited()
	s.Decided(true, 1, 1)
	tests.Zero(t, s.Late(), "not released")
	s.Checkpointed(s.Record())
	tests.True(t, s.Released())
	tests.Zero(t, s.Late(), "1 had asked before the exit")
	s.Connected(2)
	tests.Zero(t, s.Late(), "2 has not asked")
	s.Asked(2)
	tests.Equal(t, Instance(2), s.Late())
	s.Excuse(2)
	tests.Zero(t, s.Late())
	tests.Equal(t, Exit, s.Answer(WaitCall, 2))

	s = New(1, true)
	s.Exited()
	s.Decided(false, 0, 1)
	s.Checkpointed(s.Record())
	s.Connected(2)
	s.Asked(2)
	tests.Zero(t, s.Late(), "no OOM")
}

// A call ahead of the Connect of its instance gets no TaskOOM published, and no excuse
// that would hold for the instance.
func TestAStrayCall(t *testing.T) {
	s := received()
	s.Exited()
	s.Decided(true, 1, 1)
	s.Checkpointed(s.Record())
	tests.Equal(t, Hold, s.Answer(WaitCall, 2))
	tests.False(t, s.Due())
	s.Excuse(2)
	tests.Equal(t, Exit, s.Answer(WaitCall, 2))
	s.Connected(2)
	s.Asked(2)
	tests.Equal(t, Hold, s.Answer(WaitCall, 2))
	tests.Equal(t, TaskOOM, s.Next(2))
}

// The tombstone is for everybody but the instance that has the answer.
func TestTombstone(t *testing.T) {
	s := New(1, false)
	s.Exited()
	s.Decided(false, 0, 1)
	s.Checkpointed(s.Record())
	tests.True(t, s.BeginDelete())
	s.EndDelete(false, 1)
	tests.False(t, s.Deleted())
	tests.True(t, s.BeginDelete(), "again, since it failed")
	tests.True(t, s.Finds(1))
	s.EndDelete(true, 1)
	tests.True(t, s.Deleted())
	tests.False(t, s.Finds(1))
	tests.True(t, s.Finds(2))
	s.Unanswered()
	tests.True(t, s.Finds(1))

	s.deletion = NotDeleted
	tests.True(t, s.BeginDelete())
	tests.False(t, s.BeginDelete(), "it joins")
	s.EndDelete(true, 1)
	tests.True(t, s.Finds(1), "nobody is sure to have the answer")
}

// A removal that is to show the exit first is under way only between its begin and its end.
func TestLeaves(t *testing.T) {
	s := New(1, true)
	tests.False(t, s.Leaves())
	s.BeginDelete()
	tests.True(t, s.Leaves())
	s.EndDelete(true, 1)
	tests.False(t, s.Leaves())
	s = New(1, true)
	s.Exited()
	tests.False(t, s.Leaves())
	s.BeginDelete()
	tests.False(t, s.Leaves(), "the exit is known")
}

// A checkpoint says that the TaskOOM was acked while nobody is newer than who has it.
func TestRecord(t *testing.T) {
	s := New(1, true)
	tests.False(t, s.Record().Acked)
	s = received()
	tests.True(t, s.Record().Acked)
	s.Exited()
	s.Decided(true, 1, 1)
	tests.Equal(t, Record{Exited: true, Decided: true, OOM: true, Acked: true}, s.Record())
	s.Connected(2)
	tests.False(t, s.Record().Acked, "2 may not have it")
	s.Asked(2)
	tests.False(t, s.Record().Acked)
	tests.Equal(t, Hold, s.Answer(WaitCall, 2))
	s.Checkpointed(s.Record())
	s.Answer(WaitCall, 2)
	tests.Equal(t, TaskOOM, s.Next(2))
	s.Acked()
	tests.True(t, s.Record().Acked)
	s = received()
	s.KillSeen(AllKills)
	tests.True(t, s.Record().Acked)
	s.Connected(2)
	s.Asked(2)
	s.Exited()
	s.Decided(true, 1, 2)
	tests.False(t, s.Record().Acked, "one is due")
}

// A container that was never started has no TaskExit for its TaskDelete to wait for.
func TestDeleteOfACreatedContainer(t *testing.T) {
	s := New(1, true)
	tests.True(t, s.Drained())
	s.BeginDelete()
	s.EndDelete(true, 1)
	tests.False(t, s.Drained(), "a TaskDelete is due")
	tests.Equal(t, TaskDelete, s.Next(1))
	tests.Equal(t, TaskDelete, s.InFlight())
	tests.False(t, s.Drained())
	s.Acked()
	tests.True(t, s.Drained())
	tests.Equal(t, NoEvent, s.Next(1))
}

// TestDue is what a dead shim's container is worth a TaskOOM for.
func TestDue(t *testing.T) {
	for _, r := range []Record{{}, {OOM: true}, {Decided: true}, {Decided: true, OOM: true, Acked: true}} {
		tests.False(t, r.Due(), "%+v", r)
	}
	tests.True(t, Record{Decided: true, OOM: true}.Due())
}

// Only State has something to say of a container that runs. A caller may know of the exit
// before the State does.
func TestCallsWhileItRuns(t *testing.T) {
	s := New(1, true)
	tests.Equal(t, Running, s.Answer(StateCall, 1))
	tests.Equal(t, Hold, s.Answer(WaitCall, 1))
	tests.Equal(t, Hold, s.Answer(DeleteCall, 1))
	tests.False(t, s.Due())
}

// The status of the pod's choice is for an OOM whose verdict was in time.
func TestReportsOOM(t *testing.T) {
	for name, tc := range map[string]struct{ oom, late, want bool }{
		"OOM": {true, false, true}, "late OOM": {true, true, false}, "no OOM": {false, false, false}, "late": {false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(1, true)
			s.Exited()
			if tc.late {
				s.StatusDeadline()
			}
			tests.False(t, s.ReportsOOM(), "no verdict")
			s.Decided(tc.oom, 1, 1)
			s.StatusDeadline()
			tests.Equal(t, tc.want, s.ReportsOOM())
		})
	}
}

// A TaskExit that is held is still to be sent, and so is a TaskOOM that waits.
func TestDrained(t *testing.T) {
	s := New(1, true)
	s.Exited()
	s.ExitPublished()
	tests.False(t, s.Drained(), "the exit is held")
	s.Decided(false, 0, 1)
	s.Checkpointed(s.Record())
	tests.Equal(t, TaskExit, s.Next(1))
	tests.False(t, s.Drained(), "it is under way")
	s.Acked()
	tests.True(t, s.Drained())

	s = New(1, true)
	s.VictimNamed()
	tests.False(t, s.Drained(), "a TaskOOM waits")
}
