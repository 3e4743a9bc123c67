package collect

import (
	"cmp"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// eventKey distinguishes the events that may be pending at once: numbers begin
// anew when a ledger is unloaded and loaded again.
type eventKey struct {
	seq     uint64
	trigger uint32
}

// group is an event whose victims may not be all there yet.
type group struct {
	key          eventKey
	parts        []events.OOMEvent // each with one victim
	keys         []bpf.TaskKey
	first, last  time.Time
	newest       uint64 // the last victim's time by the kernel, as in bpf.Record.BootNS
	limit, usage *uint64
	memory       *oom.Memory
	given        bool // out
}

// due is when the event is over.
func (g *group) due() time.Time {
	end, limit := g.last.Add(settle), g.first.Add(longest)
	if limit.Before(end) {
		return limit
	}
	return end
}

// flush hands out those that f selects, in the order of their first victims.
func (c *Collector) flush(f func(*group) bool) {
	c.give(c.byAge(f)...)
}

// byAge returns those of pending that f selects, in the order of their first victims.
func (c *Collector) byAge(f func(*group) bool) []*group {
	var groups []*group
	for _, g := range c.order {
		if f(g) {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.parts[0].BootNS, b.parts[0].BootNS), cmp.Compare(a.key.seq, b.key.seq))
	})
	return groups
}

// give hands out events, some at once.
func (c *Collector) give(groups ...*group) {
	for some := range slices.Chunk(groups, maxBatch) {
		list := make([]events.OOMEvent, 0, len(some))
		for _, g := range some {
			list = append(list, c.event(g))
		}
		c.o.Out(list)
		for _, g := range some {
			delete(c.pending, g.key)
			g.given = true
			for _, k := range g.keys {
				delete(c.held, k)
			}
		}
		c.order = slices.DeleteFunc(c.order, func(g *group) bool { return g.given })
	}
}

// event puts the parts together, with what is known of the victims by now.
func (c *Collector) event(g *group) events.OOMEvent {
	slices.SortStableFunc(g.parts, func(a, b events.OOMEvent) int {
		return cmp.Or(cmp.Compare(a.First().Index, b.First().Index), cmp.Compare(a.BootNS, b.BootNS))
	})
	in := g.parts[0]
	for i := range g.parts {
		v := g.parts[i].First()
		if v.Pod == nil || v.Pod.Name == "" || v.Container != nil && v.Container.Kind == "" {
			c.o.Resolver.Complete(v)
		}
		if i > 0 {
			in.Victims = append(in.Victims, *v)
		}
	}
	in.Identify(c.o.Boot)
	in.Limit, in.Usage, in.Memory = g.limit, g.usage, g.memory
	return in
}
