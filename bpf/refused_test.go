package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestRefusedTask has by_task refuse every victim, as it may where the map's own
// locks or its list of free elements do: by another error than that of a victim
// that is there. It is counted as one all the same, and once.
func TestRefusedTask(t *testing.T) {
	u := newUnattachedLike(t, markVictimPID, func(spec *ebpf.CollectionSpec) {
		spec.Maps[mapByTask].Type = ebpf.Hash
		spec.Maps[mapByTask].MaxEntries = 1
	})
	full := TaskKey{TGID: 1}
	require.NoError(t, u.coll.Maps[mapByTask].Put(&full, &Record{}))
	u.kill(t)
	u.asGroup(t)
	u.kill(t)
	m := u.counts(t)
	require.EqualValues(t, 1, m.Victims)
	require.EqualValues(t, 1, m.LostTask)
	require.Zero(t, m.LostRing+m.LostCgrp)
	require.EqualValues(t, 1, u.cgroup(t).Victims)
	require.ErrorIs(t, u.coll.Maps[mapByTask].Lookup(&u.id, &Record{}), ebpf.ErrKeyNotExist)

	require.NoError(t, u.coll.Maps[mapByTask].Delete(&full))
	u.kill(t)
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &Record{}), "taken as soon as there is room")
}

// TestRefusedCgroup is the same of by_cgroup: the victim is not lost.
func TestRefusedCgroup(t *testing.T) {
	u := newUnattachedLike(t, markVictimPID, func(spec *ebpf.CollectionSpec) {
		spec.Maps[mapByCgroup].Type = ebpf.Hash
		spec.Maps[mapByCgroup].MaxEntries = 1
	})
	require.NoError(t, u.coll.Maps[mapByCgroup].Put(uint64(1<<40), &cgroupEntry{}))
	u.kill(t)
	m := u.counts(t)
	require.EqualValues(t, 1, m.Victims)
	require.Positive(t, m.LostCgrp)
	require.Equal(t, m.Cgroups, m.LostCgrp)
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &Record{}))
}

// TestFunctionMissed: where the program of __oom_kill_process did not run, the
// raw tracepoints of tiers A and B still find the victim, as those of tier C.
func TestFunctionMissed(t *testing.T) {
	for _, tier := range []Tier{TierA, TierB} {
		t.Run(tier.String(), func(t *testing.T) {
			u := newUnattachedLike(t, markVictimPID, func(spec *ebpf.CollectionSpec) {
				require.NoError(t, spec.Variables["tier"].Set(uint32(tier)))
			})
			u.kill(t)
			u.kill(t)
			m := u.counts(t)
			require.EqualValues(t, 1, m.Victims)
			require.EqualValues(t, 1, m.NoControl)
			require.Zero(t, m.NotKilled)
			var r Record
			require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
			require.NoError(t, r.check())
			require.Equal(t, tier, r.Tier)
			require.Equal(t, FlagNoControl|FlagEventGuessed, r.Flags&(FlagNoControl|FlagEventGuessed))
		})
	}
}

// TestInsideFunction: a victim that both the function and the raw tracepoints
// see is written down once, when it is sent its signal, with what is known of
// the event; one that shares its memory is distinguished; a mark adds nothing.
func TestInsideFunction(t *testing.T) {
	u := newUnattachedLike(t, markVictimPID, func(spec *ebpf.CollectionSpec) {
		require.NoError(t, spec.Variables["tier"].Set(uint32(TierA)))
	})
	event := ledgerFlight{
		Owner: u.current(), Seq: 7, Domain: 9, Constraint: ConstraintMemcg, Order: 2,
		Totalpages: 11, Points: 13, Victim: u.id.TGID,
	}
	u.setFlight(t, event)
	u.kill(t)
	u.kill(t) // the first of a group is killed twice
	var r Record
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
	require.NoError(t, r.check())
	require.Equal(t, []any{uint64(7), uint64(9), ConstraintMemcg, int32(2), uint64(11), int64(13), uint32(0)},
		[]any{r.Seq, r.Domain, r.Constraint, r.Order, r.TotalPages, r.Points, r.Index})
	require.Zero(t, r.Flags&(FlagShared|FlagNoControl|FlagEventGuessed))
	m := u.counts(t)
	require.EqualValues(t, 1, m.Victims)
	require.Zero(t, m.NotKilled+m.NoControl)

	require.NoError(t, u.coll.Maps[mapByTask].Delete(&u.id))
	event.Victim++
	u.setFlight(t, event)
	u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
	require.NotZero(t, r.Flags&FlagShared)
}

// TestMemoryUsedAgain: a victim whose mm has the address of an earlier victim's,
// which is gone, is no sharer of it.
func TestMemoryUsedAgain(t *testing.T) {
	u := newUnattached(t, markVictimPID)
	u.kill(t)
	f := u.flight(t)
	require.NotZero(t, f.Sent.Mm)
	f.Sent.MarkedTgid++
	u.setFlight(t, f)
	require.NoError(t, u.coll.Maps[mapByTask].Delete(&u.id))
	u.kill(t)
	var r Record
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
	require.Zero(t, r.Flags&FlagShared)
	require.Greater(t, r.Seq, f.Seq)
	require.Zero(t, u.counts(t).NotKilled)
}

// TestFlightMet: two tasks whose IDs meet in one slot don't disturb each other.
func TestFlightMet(t *testing.T) {
	u := newUnattached(t, markVictimPID)
	other := ledgerFlight{Owner: u.current() + flightSlots, Seq: 1 << 30, Victim: u.id.TGID, Constraint: ConstraintMemcg}
	other.Sent.Owner, other.Sent.Task, other.Sent.Tid = other.Owner, u.task, uint32(unix.Gettid())
	other.Sent.Ns = BootNow()
	u.setFlight(t, other)
	u.marked(t, markVictimPID)
	require.Zero(t, u.counts(t).Victims, "the other's signal")
	u.signal(t, uint64(unix.SIGKILL), sendSigPriv)
	f := u.flight(t)
	require.Equal(t, other.Owner, f.Owner, "the other's event")
	require.Equal(t, other.Victim, f.Victim, "the other's event")
	u.marked(t, markVictimPID)
	var r Record
	require.NoError(t, u.coll.Maps[mapByTask].Lookup(&u.id, &r))
	require.EqualValues(t, 1, r.Seq)
	require.Equal(t, ConstraintUnknown, r.Constraint)
}

// flightSlots is FLIGHTS of the programs.
const flightSlots = 128

// current is what the programs call this thread.
func (u *unattached) current() uint64 { return uint64(u.id.TGID)<<32 | uint64(unix.Gettid()) }

func (u *unattached) flight(t *testing.T) (f ledgerFlight) {
	t.Helper()
	require.EqualValues(t, flightSlots, u.coll.Maps[mapFlights].MaxEntries())
	require.NoError(t, u.coll.Maps[mapFlights].Lookup(uint32(unix.Gettid())%flightSlots, &f))
	return f
}

func (u *unattached) setFlight(t *testing.T, f ledgerFlight) {
	t.Helper()
	require.NoError(t, u.coll.Maps[mapFlights].Put(uint32(unix.Gettid())%flightSlots, &f))
}

// asGroup makes the next kill one of the same event.
func (u *unattached) asGroup(t *testing.T) {
	t.Helper()
	f := u.flight(t)
	f.Victim = u.id.TGID
	u.setFlight(t, f)
}
