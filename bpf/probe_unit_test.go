package bpf

import (
	"testing"

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
