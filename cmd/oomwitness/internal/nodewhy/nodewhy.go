// Package nodewhy finds out on a node, without the agent, why a container has died. It reads
// the spool of exits, the records in the bundles and the ledger.
package nodewhy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/agent"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
	"github.com/oomwitness/oomwitness/why/collect"
)

// Node has the places of a node's files.
type Node struct {
	// Spool is the folder of the exits, State is containerd's state directory.
	Spool, State string
	// Kills returns the OOM kills in the ledger, with names; the error is the reason why there
	// is no ledger.
	Kills func(ctx context.Context) ([]agent.OOMEvent, error)
}

// Sources reads everything that the node has. The document reports what cannot be read. denied
// is the first error for want of rights, nil for none.
func (n *Node) Sources(ctx context.Context) (s *collect.Sources, denied error) {
	s = &collect.Sources{Source: why.SourceNode}
	s.Node, _ = os.Hostname()
	failed := n.addExits(s)
	kills, err := n.Kills(ctx)
	switch {
	case errors.Is(err, bpf.ErrAbsent):
		s.NoEvents = "no ledger is loaded (oomwitness load)"
	case err != nil:
		s.NoEvents = "the ledger could not be read: " + err.Error()
	}
	s.Events = eventsOf(kills)
	s.Detail = "the ledger's records of victims have no such detail, and the verdict has none"
	for _, one := range append(failed, err) {
		if errors.Is(one, fs.ErrPermission) {
			return s, one
		}
	}
	return s, nil
}

// addExits reads the spool and the bundles, and returns an error for each that cannot be read.
// An exit that is in both is added once.
func (n *Node) addExits(s *collect.Sources) (failed []error) {
	spooled, damaged, err := exits.Read(n.Spool)
	recorded, live, bad, berr := exits.Bundles(n.State)
	if err != nil && berr != nil {
		s.NoExits = fmt.Sprintf("neither the spool of exits (%s) nor the bundles of a containerd (%s) can be read", n.Spool, cmp.Or(n.State, "no folder is given"))
	}
	for _, one := range []error{err, berr} {
		if one != nil && !errors.Is(one, fs.ErrNotExist) {
			s.Notes = append(s.Notes, one.Error())
		}
	}
	if lost := damaged + bad; lost > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d records could not be read: they are damaged or of another version of oomwitness", lost))
	}
	known := map[exits.Key]bool{}
	for _, e := range append(spooled, recorded...) {
		if !known[e.Key()] {
			known[e.Key()] = true
			s.Exits = append(s.Exits, e)
		}
	}
	boot, _ := oom.BootID() // "" matches no container
	for _, l := range live {
		ticks, err := bpf.StartTicks(l.Pid)
		if l.Boot != boot || err != nil || l.StartTicks != 0 && ticks != l.StartTicks {
			continue // the shim has not decided yet, or is dead
		}
		r := collect.Running{Ref: collect.Ref{ID: l.ID}, PID: l.Pid}
		if p := l.Pod; p != nil {
			r.Name, r.Image, r.Pod = p.Container, p.Image, &why.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID}
		}
		s.Running = append(s.Running, r)
	}
	return []error{err, berr}
}

// eventsOf groups the victims of one OOM event, the oldest event first. Each of kills has one
// victim.
func eventsOf(kills []agent.OOMEvent) (list []collect.Event) {
	slices.SortFunc(kills, func(a, b agent.OOMEvent) int {
		return cmp.Or(cmp.Compare(a.BootNS, b.BootNS), cmp.Compare(a.Event, b.Event), cmp.Compare(a.First().Index, b.First().Index))
	})
	at := map[uint64]int{}
	for i := range kills {
		k := &kills[i]
		one := k.Why()
		j, ok := at[k.Event]
		if !ok || k.Time.Sub(list[j].Time) > time.Minute { // a new ledger begins again with the first number
			at[k.Event] = len(list)
			list = append(list, one)
			continue
		}
		e := &list[j]
		e.Killed, e.Victims, e.Of = e.Killed+1, append(e.Victims, one.Victims...), append(e.Of, one.Of...)
	}
	return list
}
