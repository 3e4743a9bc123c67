package collect

import (
	"cmp"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent/incident"
	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/bpf"
)

// eventKey tells the events that may be pending at once apart: numbers begin
// anew when a ledger is unloaded and loaded again.
type eventKey struct {
	seq     uint64
	trigger uint32
}

// group is an event whose victims may not be all there yet.
type group struct {
	events       []kill.Event
	keys         []bpf.TaskKey
	first, last  time.Time
	newest       uint64 // the last victim's time by the kernel, as in bpf.Record.BootNS
	limit, usage *uint64
}

// due is when the event is over.
func (g *group) due() time.Time {
	end, limit := g.last.Add(settle), g.first.Add(longest)
	if limit.Before(end) {
		return limit
	}
	return end
}

// flush gives out those that f says, in the order of their first victims.
func (c *Collector) flush(f func(*group) bool) {
	for _, key := range c.byAge(f) {
		c.give(key, c.pending[key])
	}
}

// byAge gives those of pending that f says, in the order of their first victims.
func (c *Collector) byAge(f func(*group) bool) []eventKey {
	var keys []eventKey
	for key, g := range c.pending {
		if f(g) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b eventKey) int {
		return cmp.Or(cmp.Compare(c.pending[a].events[0].BootNS, c.pending[b].events[0].BootNS), cmp.Compare(a.seq, b.seq))
	})
	return keys
}

// give gives an event out, with what is known of its victims by now.
func (c *Collector) give(key eventKey, g *group) {
	slices.SortStableFunc(g.events, func(a, b kill.Event) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.BootNS, b.BootNS))
	})
	for i := range g.events {
		if e := &g.events[i]; e.Pod == nil || e.Pod.Name == "" || e.Container != nil && e.Container.Kind == "" {
			c.o.Namer.Complete(e)
		}
	}
	in := incident.New(c.o.Boot, g.events[0])
	for _, e := range g.events[1:] {
		in.Add(e)
	}
	in.Limit, in.Usage = g.limit, g.usage
	c.o.Out(in)
	delete(c.pending, key)
	for _, k := range g.keys {
		delete(c.held, k)
	}
}
