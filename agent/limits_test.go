package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
)

// TestLimitOfAGoneCgroup: systemd removes a container's cgroup before anyone can
// read it, and the kernel has said its size.
func TestLimitOfAGoneCgroup(t *testing.T) {
	const node, peak = 8 << 30, 90
	gone := func(uint64) (limit, usage *uint64) { return nil, nil }
	there := func(uint64) (limit, usage *uint64) { return new(uint64(100)), new(uint64(peak)) }
	for name, c := range map[string]struct {
		domain events.Domain
		read   func(uint64) (limit, usage *uint64)
		swap   uint64
		dumb   bool // the node does not say
		limit  *uint64
		usage  *uint64
	}{
		"there":                {events.Domain{ID: 7, Path: "/a", Size: 120}, there, 20, false, new(uint64(100)), new(uint64(peak))},
		"gone, no swap":        {events.Domain{ID: 7, Path: "/a", Size: 100}, gone, 0, false, new(uint64(100)), nil},
		"gone, unnamed":        {events.Domain{ID: 7, Size: 100}, there, 0, false, new(uint64(100)), nil},
		"gone, swap":           {events.Domain{ID: 7, Path: "/a", Size: 120}, gone, 20, false, nil, nil},
		"gone, swap not known": {events.Domain{ID: 7, Path: "/a", Size: 100}, gone, 0, true, nil, nil},
		"gone, no size":        {events.Domain{ID: 7, Path: "/a"}, gone, 0, false, nil, nil},
		"node":                 {events.Domain{Size: node}, there, 0, false, new(uint64(node)), nil},
		"node, not known":      {events.Domain{Size: node}, there, 0, true, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimits(c.read)
			l.node = func() (memory, swap uint64, ok bool) { return node, c.swap, !c.dumb }
			limit, usage := l.of(&c.domain, 1)
			require.Equal(t, c.limit, limit)
			require.Equal(t, c.usage, usage)
		})
	}
}

// TestLimitIsReadAfterTheKill: what was read is good for the kills before it, and no
// other.
func TestLimitIsReadAfterTheKill(t *testing.T) {
	now, reads := uint64(1000), uint64(0)
	l := newLimits(func(uint64) (limit, usage *uint64) {
		reads++
		return new(reads), new(now)
	})
	l.boot = func() uint64 { return now }
	of := func(id, killed uint64) uint64 {
		limit, _ := l.of(&events.Domain{ID: id, Path: "/a"}, killed)
		return *limit
	}
	require.EqualValues(t, 1, of(7, 900))
	require.EqualValues(t, 1, of(7, 950))
	require.EqualValues(t, 1, of(7, 999))
	require.EqualValues(t, 2, of(8, 999), "another cgroup's")
	now = 2000
	require.EqualValues(t, 3, of(7, 1000), "it may have been read before the kill")
	require.EqualValues(t, 3, of(7, 1500))
	for id := range uint64(2 * maxFigures) {
		of(100+id, 1999)
	}
	require.LessOrEqual(t, len(l.last), maxFigures)
}
