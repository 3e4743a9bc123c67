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
	place   place
	init    TaskKey
	armedNS uint64

	// mu guards what follows. Readings are taken under it, so that they are in
	// order.
	mu     sync.Mutex
	base   uint64 // victims at Arm
	seen   uint64 // the container's victims at the last reading
	lastNS uint64 // of the kill that last.Last is for
	// What the ledger had counted when the answer was last known: evicted.
	tasks, cgroups uint64
	limits         oom.Probe // tier C: which limit fired, by the counters; may be nil
	last           oom.Evidence
	closed         bool
}

// reading is the content of the ledger at one moment.
type reading struct {
	meta   Meta
	cgroup Cgroup
	init   Record
	killed bool // init is in the ledger
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
	p.base, p.seen, p.tasks, p.cgroups = c.Victims, c.Victims, m.Victims, m.Cgroups
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
		if r.meta, err = l.Meta(); err != nil {
			return err
		}
		if r.cgroup, _, err = l.cgroup(p.place.cgroup); err != nil {
			return err
		}
		r.init, r.killed, err = l.task(p.init)
		return err
	})
	if err == nil {
		err = p.takeLocked(r)
	}
	if err != nil {
		return p.last, fmt.Errorf("read %s: %w", SourceName, err)
	}
	return p.last, nil
}

// takeLocked makes evidence of a reading.
func (p *probe) takeLocked(r reading) error {
	if r.meta.SinceNS > p.armedNS {
		return ErrGap
	}
	if r.cgroup.Victims < p.seen || r.cgroup.Victims == 0 && r.meta.Cgroups-p.cgroups > sureCgroups {
		return fmt.Errorf("cgroup %d: %w", p.place.cgroup, ErrEvicted)
	}
	newest := r.cgroup.Last
	if r.cgroup.Victims > p.seen && newest.BootNS != p.lastNS {
		p.newestLocked(newest, r.cgroup.Victims-p.base)
	}
	p.seen = r.cgroup.Victims
	p.last.Kills = r.cgroup.Victims - p.base
	p.last.Tier = r.meta.Tier.String()
	p.initLocked(r)
	p.cgroups = r.meta.Cgroups
	return nil
}

// newestLocked takes time and cause of the newest of so many kills. Counters of a
// cgroup that is gone have the cause as far as they had been read.
func (p *probe) newestLocked(k Last, kills uint64) {
	p.lastNS = k.BootNS
	p.last.Last = wallTime(k.BootNS)
	p.last.Cause = p.place.cause(k.Constraint, k.Order, k.Domain)
	if p.last.Cause != oom.CauseUnknown || p.limits == nil {
		return
	}
	ev, err := p.limits.Read()
	known := err == nil || errors.Is(err, oom.ErrGone) && ev.Kills >= kills
	if known && ev.Cause != oom.CauseNone {
		p.last.Cause = ev.Cause
	}
}

// initLocked answers whether init was killed, which stays true once it is.
func (p *probe) initLocked(r reading) {
	switch {
	case r.killed:
		p.last.Init = oom.Yes
		if p.last.Kills == 0 { // killed just before Arm, and not reaped
			p.last.Kills = 1
			p.newestLocked(Last{BootNS: r.init.BootNS, Constraint: r.init.Constraint, Order: r.init.Order, Domain: r.init.Domain}, p.last.Kills)
		}
	case p.last.Init == oom.Yes:
	case p.last.Kills > 0 && r.meta.Victims-p.tasks > sureTasks:
		p.last.Init = oom.Unknown // it may have been pushed out
	default:
		p.last.Init = oom.No
		p.tasks = r.meta.Victims
	}
}

// Close implements oom.Probe.
func (p *probe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.limits == nil {
		return nil
	}
	return p.limits.Close()
}

// Since is how long the ledger in force has been recording without a gap.
func (m Meta) Since() time.Duration { return time.Duration(BootNow() - m.SinceNS) }
