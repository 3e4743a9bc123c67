package bpf

import (
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// TestInitsFull: where the map is full, inits that have ended make room, and those that run
// stay, as do senders that are new.
func TestInitsFull(t *testing.T) {
	f := newFull(t)
	ticks, err := StartTicks(os.Getpid())
	require.NoError(t, err)
	self := TaskKey{TGID: uint32(os.Getpid()), StartTicks: ticks}
	require.NoError(t, f.ledger.watch(self))
	inits := f.coll.Maps[mapInits]
	var kept, gone []TaskKey
	for i, e := range []struct {
		flags senderFlags
		ago   time.Duration
		kept  bool
	}{
		{0, 0, true},                  // the agent is yet to ask
		{0, 2 * keepUnwatched, false}, // there is no agent
		{senderWatched, 2 * keepUnwatched, true},
		{senderWatched, 2 * keepWatched, false},
	} {
		key := TaskKey{TGID: 1<<21 + uint32(i), StartTicks: 1}
		require.NoError(t, inits.Put(&key, &senderEntry{BootNS: BootNow() - uint64(e.ago), Flags: e.flags}))
		if e.kept {
			kept = append(kept, key)
		} else {
			gone = append(gone, key)
		}
	}
	for i := uint32(4); ; i++ {
		if err := inits.Update(&TaskKey{TGID: 1<<21 + i, StartTicks: 1}, &senderEntry{Flags: senderWatched}, ebpf.UpdateNoExist); err != nil {
			break
		}
	}
	next := TaskKey{TGID: 1 << 22, StartTicks: 1}
	require.NoError(t, f.ledger.watch(next))
	for _, key := range append(kept, self, next) {
		_, ok, err := f.ledger.sentTo(key)
		require.NoError(t, err)
		require.True(t, ok, "%+v", key)
	}
	for _, key := range gone {
		_, ok, err := f.ledger.sentTo(key)
		require.NoError(t, err)
		require.False(t, ok, "%+v", key)
	}
	list, err := f.ledger.senders()
	require.NoError(t, err)
	require.Len(t, list, len(kept))
}

// TestInitsRefused: where there is no room whatever ends, the sender is unknown, and the
// rest of the evidence is as good as ever.
func TestInitsRefused(t *testing.T) {
	f := newFull(t)
	require.NoError(t, f.ledger.unwatch(f.probe.family.init))
	for i := uint32(0); ; i++ {
		if err := f.coll.Maps[mapInits].Put(&TaskKey{TGID: 1<<21 + i}, &senderEntry{BootNS: BootNow()}); err != nil {
			break
		}
	}
	require.NoError(t, f.probe.baseline(f.ledger, 2))
	require.False(t, f.probe.watched)
	f.sigkill(t)
	f.victim(t, 100, fullContainer)
	ev, err := f.read(t)
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills)
	require.Equal(t, "unknown", ev.Sent.String())
	require.NoError(t, f.ledger.sweep())
}

// TestCarryInits hands the watched inits over while both ledgers are attached: what one of
// them has seen is not lost.
func TestCarryInits(t *testing.T) {
	from, to := newFull(t).coll.Maps[mapInits], newFull(t).coll.Maps[mapInits]
	seen := senderEntry{BootNS: 5, TGID: 7, Flags: senderWatched}
	watched := senderEntry{Flags: senderWatched}
	for name, c := range map[string]struct {
		old  senderEntry
		here *senderEntry
		want senderEntry
	}{
		"watched":           {watched, nil, watched},
		"sent":              {seen, nil, seen},
		"sent, here too":    {seen, &senderEntry{BootNS: 6}, senderEntry{BootNS: 6}},
		"sent, not here":    {seen, &watched, seen},
		"not sent but here": {watched, &seen, seen},
	} {
		key := TaskKey{TGID: uint32(len(name)), StartTicks: 3}
		require.NoError(t, from.Put(&key, &c.old))
		if c.here != nil {
			require.NoError(t, to.Put(&key, c.here))
		}
		require.NoError(t, carryInits(from, to))
		var got senderEntry
		require.NoError(t, to.Lookup(&key, &got))
		require.Equal(t, c.want, got, name)
		require.NoError(t, from.Delete(&key))
	}
	require.NoError(t, carryInits(nil, to))
}
