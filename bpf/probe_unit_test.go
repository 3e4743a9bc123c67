package bpf

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// An entry that is made between the reading of the count of entries and its own was not
// pushed out since: its victims are not counted twice. One that was made later was.
func TestEntryMadeAmidAReading(t *testing.T) {
	p := &probe{last: oom.Evidence{Init: oom.No}}
	entry := Cgroup{Victims: 1, made: 6}
	require.NoError(t, p.takeLocked(reading{meta: Meta{Cgroups: 5, Victims: 1}, cgroup: entry, kills: 1}))
	require.EqualValues(t, 1, p.last.Kills)
	require.Zero(t, p.baseOf(entry))

	armed := &probe{base: 1}
	armed.sawLocked(Meta{Cgroups: 5}, entry)
	require.Zero(t, entry.Victims-armed.baseOf(entry), "a kill before Arm")

	anew := Cgroup{Victims: 1, made: 7}
	require.EqualValues(t, 2, anew.Victims-p.baseOf(anew))
}

// The clock is set back by an hour after the first reading. The next reading has the times of
// the kills by the clock as it is set then: a kill is not after the exit that followed it.
func TestClockSetBetweenReadings(t *testing.T) {
	p := &probe{last: oom.Evidence{Init: oom.No}}
	victim := Record{Seq: 1, BootNS: BootNow(), TGID: 7, Constraint: oom.ConstraintUnknown}
	r := reading{
		kills: 1, victims: []Record{victim}, all: true,
		cgroup: Cgroup{Victims: 1, Last: Last{Seq: 1, BootNS: victim.BootNS, Constraint: oom.ConstraintUnknown}},
	}
	require.NoError(t, p.takeLocked(r))
	p.last.Last = p.last.Last.Add(time.Hour)
	p.last.Victims[0].At = p.last.Last
	require.NoError(t, p.takeLocked(r))
	require.WithinDuration(t, time.Now(), p.last.Victims[0].At, time.Minute)
	require.WithinDuration(t, time.Now(), p.last.Last, time.Minute)
}

// What had not happened by the last good reading may have happened by one that fails. What had
// happened stays.
func TestLostReading(t *testing.T) {
	p := &probe{last: oom.Evidence{Init: oom.No, Sent: oom.No, Kills: 1}}
	p.lostLocked()
	require.Equal(t, oom.Evidence{Kills: 1}, p.last)
	seen := oom.Evidence{Init: oom.Yes, Sent: oom.Yes}
	p.last = seen
	p.lostLocked()
	require.Equal(t, seen, p.last)
}
