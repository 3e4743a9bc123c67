package bpf

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// full is a ledger that is not attached, whose maps a test fills with victims that it
// makes up, and a container's probe on it.
type full struct {
	*unattached
	fake   *fakeTask
	ledger *Ledger
	probe  *probe
	next   uint32 // PID of the next victim elsewhere
}

const (
	fullInit      = 1 << 18
	fullContainer = uint64(77)
	fullElsewhere = uint64(1) << 40
)

func newFull(t *testing.T) *full {
	t.Helper()
	u := newUnattachedV2(t)
	// Each CPU keeps some of what it has entered from being pushed out.
	var all, one unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &all))
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	require.NoError(t, unix.SchedSetaffinity(0, &one))
	t.Cleanup(func() { require.NoError(t, unix.SchedSetaffinity(0, &all)) })
	f := &full{unattached: u, fake: newFakeTask(t), next: 1 << 20}
	u.task = f.fake.base
	m := u.coll.Maps
	require.NoError(t, m[mapMeta].Put(metaAbout, &metaValue{ABI: ABI, Tier: TierC, State: stateActive, Hierarchy: 2}))
	f.ledger = &Ledger{
		gen: generation{name: "g0_0_C_1"}, tier: TierC, version: Version, about: metaValue{ABI: ABI, Tier: TierC, Hierarchy: 2},
		meta: readerOf(t, m[mapMeta]), byTask: readerOf(t, m[mapByTask]), byCgroup: readerOf(t, m[mapByCgroup]),
		inits: readerOf(t, m[mapInits]), memories: readerOf(t, m[mapMemories]),
	}
	f.probe = &probe{
		source: &Source{}, place: place{cgroup: fullContainer}, family: family{init: TaskKey{TGID: fullInit}},
		armedNS: BootNow(), last: oom.Evidence{Source: SourceName, Init: oom.No},
	}
	require.NoError(t, f.probe.baseline(f.ledger, 2))
	return f
}

// victim kills a process of that PID in a cgroup.
func (f *full) victim(t *testing.T, pid uint32, cgroup uint64) {
	t.Helper()
	f.fake.be(t, pid, cgroup)
	f.signal(t, uint64(unix.SIGKILL), sendSigPriv)
	_, err := f.mark.Run(runWith(uint64(pid)))
	require.NoError(t, err)
}

// elsewhere kills n processes in as many cgroups, or all in one.
func (f *full) elsewhere(t *testing.T, n int, cgroups bool) {
	t.Helper()
	for range n {
		id := fullElsewhere
		if cgroups {
			id += uint64(f.next)
		}
		f.victim(t, f.next, id)
		f.next++
	}
}

// sigkill sends init a SIGKILL from this process.
func (f *full) sigkill(t *testing.T) {
	t.Helper()
	f.fake.be(t, fullInit, fullContainer)
	f.signal(t, uint64(unix.SIGKILL), 0)
}

func (f *full) read(t *testing.T) (oom.Evidence, error) {
	t.Helper()
	r, err := f.probe.readLocked(f.ledger)
	require.NoError(t, err)
	err = f.probe.takeLocked(r)
	return f.probe.last, err
}

// More than the maps hold.
const manyVictims, manyCgroups = 4096 + 1024, 8192 + 2048

// TestEvictedCgroup fills both maps after a kill in a container: it is an error, and never
// the answer that nothing was killed. A kill after that is one more.
func TestEvictedCgroup(t *testing.T) {
	f := newFull(t)
	f.victim(t, 100, fullContainer)
	ev, err := f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills)
	require.Equal(t, oom.No, ev.Init)
	f.elsewhere(t, manyCgroups, true)
	ev, err = f.read(t)
	require.ErrorIs(t, err, ErrEvicted)
	require.EqualValues(t, 1, ev.Kills, "the last good reading")
	f.victim(t, 101, fullContainer)
	ev, err = f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, 2, ev.Kills)
	require.Len(t, ev.Victims, 1)
	require.Equal(t, 101, ev.Victims[0].PID)
	again, err := f.read(t)
	require.NoError(t, err)
	require.Equal(t, ev, again)
}

// TestEvictedUnread is the same for a kill that nobody had read.
func TestEvictedUnread(t *testing.T) {
	f := newFull(t)
	f.victim(t, 100, fullContainer)
	f.elsewhere(t, manyCgroups, true)
	_, err := f.read(t)
	require.ErrorIs(t, err, ErrEvicted)
	f.victim(t, 101, fullContainer)
	ev, err := f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills, "at the least")
	require.Equal(t, oom.No, ev.Init)
}

// TestEvictedTask fills the map of victims after two kills in a container, one of which may
// have been init: that is unknown, and the kills are still counted. A SIGKILL that
// somebody sent shows that init was not one.
func TestEvictedTask(t *testing.T) {
	for name, c := range map[string]struct {
		pids []uint32
		sent bool
		want oom.Known
	}{
		"others":                 {[]uint32{100, 101}, false, oom.Unknown},
		"init":                   {[]uint32{100, fullInit}, false, oom.Unknown},
		"others, then a SIGKILL": {[]uint32{100, 101}, true, oom.No},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFull(t)
			for _, pid := range c.pids {
				f.victim(t, pid, fullContainer)
			}
			f.elsewhere(t, manyVictims, false)
			if c.sent {
				f.sigkill(t)
			}
			ev, err := f.read(t)
			require.NoError(t, err)
			require.EqualValues(t, 2, ev.Kills)
			require.Equal(t, c.want, ev.Init)
			require.Empty(t, ev.Victims)
			require.Equal(t, c.sent, ev.Sent == oom.Yes)
		})
	}
}

// TestKillsElsewhere: 1,100 kills elsewhere between a child's and the exit are more than the
// map surely keeps, but it has the child, and so init was not killed.
func TestKillsElsewhere(t *testing.T) {
	f := newFull(t)
	f.victim(t, 100, fullContainer)
	f.victim(t, 101, fullContainer)
	f.elsewhere(t, sureTasks+100, false)
	ev, err := f.read(t)
	require.NoError(t, err)
	require.Equal(t, oom.No, ev.Init)
	require.EqualValues(t, 2, ev.Kills)
	require.Len(t, ev.Victims, 2)
	require.Less(t, ev.Victims[0].Seq, ev.Victims[1].Seq)
	require.Equal(t, oom.No, ev.Sent)
	f.sigkill(t)
	ev, err = f.read(t)
	require.NoError(t, err)
	require.Equal(t, oom.Yes, ev.Sent)
}

// TestManyOfOne: of more victims than an evidence names the newest are there.
func TestManyOfOne(t *testing.T) {
	f := newFull(t)
	const kills = 3 * oom.MaxVictims
	for i := range uint32(kills) {
		f.victim(t, 100+i, fullContainer)
		f.elsewhere(t, 3, true)
	}
	ev, err := f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, kills, ev.Kills)
	require.Len(t, ev.Victims, oom.MaxVictims)
	for i, v := range ev.Victims {
		require.Equal(t, 100+kills-oom.MaxVictims+i, v.PID)
	}
}
