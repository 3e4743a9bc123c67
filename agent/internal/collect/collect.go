// Package collect makes OOM events of the ledger's records: each victim once, the
// victims of one OOM event together; and ends of containers of the ledger's senders.
package collect

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Ring returns records as they are written: a bpf.Ring.
type Ring interface {
	Read(context.Context) (bpf.Record, error)
	io.Closer
}

// Ledger is the one in force.
type Ledger interface {
	Ring() (Ring, error)
	Records() ([]bpf.Record, error)
	Meta() (bpf.Meta, error)
	// Memory returns what filled the memory at an OOM event of that number, false where
	// the ledger does not know any more.
	Memory(seq uint64) (oom.Memory, bool, error)
}

// Resolver resolves the victim of a record: a resolve.Resolver.
type Resolver interface {
	Resolve(context.Context, *bpf.Record) (events.OOMEvent, error)
	Complete(*events.Victim)
}

// Limits returns the memory limit of what ran out of it, and the most that it had
// used, in bytes, as they were after bootNS (as in bpf.Record.BootNS), the time of
// the kill; nil where that is not known.
type Limits func(d *events.Domain, bootNS uint64) (limit, usage *uint64)

// Options of a Collector. All but Limits are needed.
type Options struct {
	Ledger   Ledger
	Resolver Resolver
	Limits   Limits
	// Boot is the boot's ID.
	Boot string
	// Counted reports whether a victim is in an OOM event that was handed out, by this
	// or an earlier agent.
	Counted func(*bpf.Record) bool
	// Out is given each OOM event when its event has settled, by one goroutine, with
	// others that have, oldest first: maxBatch at most. Their victims are Counted when
	// it returns.
	Out func([]events.OOMEvent)
	// Warn receives what goes wrong and ends nothing.
	Warn func(error)
}

const (
	// settle is how long after its last victim an event is over: the kernel ends
	// those of one event one right after the other.
	settle = 150 * time.Millisecond
	// longest is how long an event may go on.
	longest = time.Second
	// maxPending events are held at once.
	maxPending = 256
	// maxBatch events are given out at once, and as many are made room for.
	maxBatch = maxPending / 8
	// maxRead records of the ring are read ahead, while earlier ones are taken.
	maxRead = 256
)

// Collector reads the ledger. Run is called once; Health at any time.
type Collector struct {
	o Options

	pending map[eventKey]*group
	order   []*group                 // of pending, as they came: nearly by age
	held    map[bpf.TaskKey]struct{} // the victims of pending
	// soonest is no later than when the first of pending is due.
	soonest time.Time

	mu     sync.Mutex // guards what follows
	health events.Health
}

// New returns a Collector that is not running: see Run.
func New(o Options) *Collector {
	if o.Limits == nil {
		o.Limits = func(*events.Domain, uint64) (limit, usage *uint64) { return nil, nil }
	}
	return &Collector{
		o: o, pending: map[eventKey]*group{}, held: map[bpf.TaskKey]struct{}{},
		health: events.Health{Why: "starting"},
	}
}

// Health is how the ledger and its reading are.
func (c *Collector) Health() events.Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

func (c *Collector) setHealth(f func(*events.Health)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.health)
}

// Run collects until ctx ends, and then gives out what has not settled yet.
func (c *Collector) Run(ctx context.Context) {
	live, scans := make(chan bpf.Record, maxRead), make(chan scan)
	f := feeder{Collector: c, live: live, scans: scans}
	var feeding sync.WaitGroup
	feeding.Go(func() { f.run(ctx) })
	feeding.Go(func() { f.watch(ctx) })
	defer feeding.Wait()
	timer := time.NewTimer(longest)
	defer timer.Stop()
	defer c.flush(func(*group) bool { return true })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case s := <-scans:
			c.takeAll(ctx, s)
		case r := <-live:
			c.takeLive(ctx, &r, live)
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(c.soonest) {
			c.flush(func(g *group) bool { return !now.Before(g.due()) })
			c.soonest = c.next(now)
		}
		timer.Reset(c.soonest.Sub(now))
	}
}

// takeAll takes what the map of victims has, and counts what is lost for good. It
// gives out each event as soon as the next is a later one: an agent that is killed
// over and over comes on in each of its lives, however short.
func (c *Collector) takeAll(ctx context.Context, s scan) {
	var fresh uint64
	for i := range s.records {
		if ctx.Err() != nil {
			return // they are read again after the start
		}
		r := &s.records[i]
		c.flush(func(g *group) bool { return r.BootNS > g.newest+uint64(settle) })
		if c.take(ctx, r) {
			fresh++
		}
	}
	if s.missing > fresh {
		c.setHealth(func(h *events.Health) { h.Lost += s.missing - fresh })
	}
}

// takeLive takes a record of the ring, and those that have come by now.
func (c *Collector) takeLive(ctx context.Context, r *bpf.Record, more <-chan bpf.Record) {
	c.take(ctx, r)
	for range len(more) { // nobody else takes them
		if ctx.Err() != nil {
			break // they are read again after the start
		}
		*r = <-more
		c.take(ctx, r)
	}
	c.setHealth(func(h *events.Health) { h.Lag = time.Since(r.Time()) })
}

// take returns false for a victim that is known.
func (c *Collector) take(ctx context.Context, r *bpf.Record) bool {
	if _, ok := c.held[r.Key()]; ok || c.o.Counted(r) {
		return false
	}
	in, err := c.o.Resolver.Resolve(ctx, r)
	if err != nil {
		c.o.Warn(err)
	}
	key := eventKey{r.Seq, r.TriggerTID}
	g := c.pending[key]
	if g == nil {
		c.makeRoom()
		g = &group{key: key, first: time.Now(), memory: c.memory(r.Seq)}
		c.pending[key], c.order = g, append(c.order, g)
		if due := g.first.Add(settle); due.Before(c.soonest) {
			c.soonest = due
		}
	}
	if g.limit == nil && g.usage == nil && in.Domain != nil {
		g.limit, g.usage = c.o.Limits(in.Domain, r.BootNS)
	}
	g.parts, g.keys, g.last = append(g.parts, in), append(g.keys, r.Key()), time.Now()
	g.newest = max(g.newest, r.BootNS)
	c.held[r.Key()] = struct{}{}
	if len(g.parts) >= events.MaxVictims {
		c.give(g)
	}
	return true
}

// memory returns what filled the memory at an OOM event, nil where that is not known. The
// ledger keeps it for the newest OOM events alone: it is read with the first victim.
func (c *Collector) memory(seq uint64) *oom.Memory {
	m, ok, err := c.o.Ledger.Memory(seq)
	if err != nil && !errors.Is(err, bpf.ErrAbsent) && !errors.Is(err, bpf.ErrRetired) {
		c.o.Warn(err)
	}
	if !ok {
		return nil
	}
	for i := range m.Candidates {
		m.Candidates[i].Comm = events.Clean(m.Candidates[i].Comm)
	}
	return &m
}

// makeRoom hands out the oldest events if there are too many: some at once, so
// that a storm does not look for the oldest at each kill.
func (c *Collector) makeRoom() {
	if len(c.pending) < maxPending {
		return
	}
	c.give(c.byAge(func(*group) bool { return true })[:maxBatch]...)
}

// next is when the first of pending will be due.
func (c *Collector) next(now time.Time) time.Time {
	soonest := now.Add(longest)
	for _, g := range c.pending {
		if due := g.due(); due.Before(soonest) {
			soonest = due
		}
	}
	return soonest
}
