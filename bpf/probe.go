package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// Before so many others the ledger has surely not pushed an answer out: a
// quarter of what the maps hold, since each CPU of a large node sets some of
// their room aside (kernel/bpf/bpf_lru_list.c).
const (
	sureTasks   = 4096 / 4
	sureCgroups = 8192 / 4
)

// probe is the ledger's view of one container.
type probe struct {
	source  *Source
	family  family
	armedNS uint64

	// execs guards execd: who starts an exec must not wait for a reading.
	execs sync.Mutex
	execd []execProcess // the newest, oldest first

	// mu guards what follows. Readings are taken under it, so that they are in
	// order.
	mu    sync.Mutex
	place place
	// base is what the cgroup's entry had counted at Arm. It is below zero, as a uint64
	// wraps, by what an entry had counted that was pushed out since.
	base    uint64
	seen    uint64   // what the entry had counted at the last reading
	newest  position // of the kill that last.Last is for
	watched bool     // the ledger was asked to watch init
	// What the ledger had counted when the answer was last known: evicted.
	tasks, cgroups uint64
	limits         oom.Probe   // tier C: which limit fired, by the counters; may be nil
	initVictim     *oom.Victim // init, where the cgroup's entry does not lead to it
	last           oom.Evidence
	closed         bool
}

// position orders kills: those of one OOM event by their time.
type position struct{ seq, bootNS uint64 }

// reading is the content of the ledger at one moment.
type reading struct {
	meta   Meta
	cgroup Cgroup
	init   Record
	killed bool // init is in the ledger
	// cgroups are init's and those above it, where init was killed.
	cgroups []uint64
	sender  senderEntry
	watched bool // the ledger watches init: sender is the answer
	kills   uint64
	// victims are the newest kills, oldest first, and all is true if no kill since Arm
	// is missing from them.
	victims []Record
	execs   uint64 // see oom.Evidence
	all     bool
	// memory is what filled the memory at the newest kill, if that is known.
	memory      oom.Memory
	memoryKnown bool
}

// baseline takes the counts that are the container's before it began.
func (p *probe) baseline(l *Ledger, version int) error {
	m, err := l.Meta()
	if err != nil {
		return err
	}
	if m.Hierarchy != version {
		return fmt.Errorf("OOM ledger counts by cgroup v%d, memory is on v%d", m.Hierarchy, version)
	}
	c, _, err := l.cgroup(p.place.cgroup)
	if err != nil {
		return err
	}
	p.base, p.tasks = c.Victims, m.Victims
	p.sawLocked(m, c)
	// Who sends a SIGKILL is worth less than the rest: without room it is unknown.
	p.watched = l.watch(p.family.init) == nil
	return nil
}

// armLimits finds another witness of the limit that fired, where the programs
// are not among them. There being none is no error: the cause is then unknown.
func (p *probe) armLimits(t oom.Target) error {
	var tier Tier
	err := p.source.ask(func(l *Ledger) error { tier = l.tier; return nil })
	if err != nil || tier != TierC || p.source.h.Version != 2 {
		return err
	}
	counters, err := oom.NewCounters(p.source.h)
	if err != nil {
		return err
	}
	if p.limits, err = counters.Arm(t); err != nil {
		p.limits = nil
	}
	return nil
}

// Read implements oom.Probe.
func (p *probe) Read() (oom.Evidence, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return p.last, os.ErrClosed
	}
	var r reading
	err := p.source.ask(func(l *Ledger) (err error) {
		r, err = p.readLocked(l)
		return err
	})
	if err == nil {
		err = p.takeLocked(r)
	}
	if err != nil {
		p.lostLocked()
		return p.last, fmt.Errorf("read %s: %w", SourceName, err)
	}
	return p.last, nil
}

// lostLocked is for a reading that failed: what had not happened by the last good reading may
// have happened since.
func (p *probe) lostLocked() {
	if p.last.Sent == oom.No {
		p.last.Sent = oom.Unknown
	}
	if p.last.Init == oom.No {
		p.last.Init = oom.Unknown
	}
}

// readLocked asks the ledger for all that a reading needs.
func (p *probe) readLocked(l *Ledger) (r reading, err error) {
	if r.meta, err = l.counted(l.about); err != nil {
		return r, err
	}
	if r.cgroup, _, err = l.cgroup(p.place.cgroup); err != nil {
		return r, err
	}
	if r.init, r.killed, err = l.task(p.family.init); err != nil {
		return r, err
	}
	if r.killed {
		if r.cgroups, err = l.cgroupsOf(r.init.Cgroup); err != nil {
			return r, err
		}
	}
	if r.sender, r.watched, err = l.sentTo(p.family.init); err != nil {
		return r, err
	}
	r.kills = r.cgroup.Victims - p.baseOf(r.cgroup)
	newest := r.init.Seq
	if r.kills > 0 && r.cgroup.Victims > 0 {
		newest = r.cgroup.Last.Seq
	}
	if newest == 0 {
		return r, nil
	}
	if r.memory, r.memoryKnown, err = l.memory(newest); err != nil || newest != r.cgroup.Last.Seq {
		return r, err
	}
	if p.place, err = l.wholePlace(p.place); err != nil {
		return r, err
	}
	r.victims, r.execs, r.all, err = l.newest(r.cgroup, r.kills, func(v *Record) bool { return p.lineage(v) == oom.LineageExec })
	return r, err
}

// sawLocked notes how far the entry was read. The entry may have been made after the count
// of entries was read: an entry of a larger number still was made after both.
func (p *probe) sawLocked(m Meta, c Cgroup) { p.seen, p.cgroups = c.Victims, max(m.Cgroups, c.made) }

// baseOf returns the base for an entry: another one for an entry that was pushed out
// since the last reading, and made again by a later kill.
func (p *probe) baseOf(c Cgroup) uint64 {
	if p.seen > 0 && c.made > p.cgroups {
		return -p.last.Kills
	}
	return p.base
}

// takeLocked makes evidence of a reading.
func (p *probe) takeLocked(r reading) error {
	if r.meta.SinceNS > p.armedNS {
		return ErrGap
	}
	p.last.Tier = r.meta.Tier.String()
	p.senderLocked(r)
	evicted := r.cgroup.Victims == 0 && (p.seen > 0 || r.meta.Cgroups-p.cgroups > sureCgroups) ||
		p.baseOf(r.cgroup) == p.base && r.cgroup.Victims < p.seen
	if !evicted {
		p.base = p.baseOf(r.cgroup)
		p.sawLocked(r.meta, r.cgroup)
		p.killsLocked(r)
	}
	p.initLocked(r)
	if evicted && p.last.Init != oom.Yes {
		return fmt.Errorf("cgroup %d: %w", p.place.cgroup, ErrEvicted)
	}
	return nil
}

// Close implements oom.Probe.
func (p *probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var err error
	if p.watched {
		err = p.source.forget(p.family.init)
	}
	if p.limits == nil {
		return err
	}
	return errors.Join(err, p.limits.Close())
}

// Since is how long the ledger in force has been recording without a gap.
func (m Meta) Since() time.Duration { return time.Duration(BootNow() - m.SinceNS) }
