//go:build !no_loader

package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// handOver carries what old knows into g, which has been recording beside it
// with maps of its own, and puts g in force. old may be nil. Each step may be
// done again after a loader that died: finish.
//
// Readers of old see that it retires and wait for g; counts that both have are
// counted once.
func handOver(old *oldLedger, g generation, to map[string]*ebpf.Map, carry *ebpf.Program) error {
	if old == nil {
		return g.makeCurrent()
	}
	if err := setState(old.maps[mapMeta], stateRetiring); err != nil {
		return err
	}
	step("retiring")
	if err := carryInits(old.maps[mapInits], to[mapInits]); err != nil {
		return fmt.Errorf("carry %s over: %w", mapInits, err)
	}
	step("inits watched")
	links, err := old.anyLinks()
	if err != nil {
		return err
	}
	for _, name := range links {
		if err := os.Remove(old.path(name)); err != nil {
			return fmt.Errorf("detach the old programs: %w", err)
		}
		step("link removed")
	}
	both, err := carryTasks(old.maps[mapByTask], to[mapByTask])
	if err != nil {
		return fmt.Errorf("carry %s over: %w", mapByTask, err)
	}
	step("tasks carried")
	if err := carryCgroups(old.maps[mapByCgroup], to[mapByCgroup], both, carry); err != nil {
		return fmt.Errorf("carry %s over: %w", mapByCgroup, err)
	}
	if err := carryInits(old.maps[mapInits], to[mapInits]); err != nil {
		return fmt.Errorf("carry %s over: %w", mapInits, err)
	}
	if err := g.makeCurrent(); err != nil {
		return err
	}
	step("handed over")
	if err := setState(old.maps[mapMeta], stateRetired); err != nil {
		return err
	}
	step("retired")
	return old.remove()
}

// finish ends a handover whose loader died.
func finish(old *oldLedger, g generation, limit *memlock) (Status, error) {
	to := map[string]*ebpf.Map{}
	for _, name := range mapNames {
		m, err := g.loadMap(name)
		if err != nil {
			return Status{}, err
		}
		defer discard(m)
		to[name] = m
	}
	m, err := g.about()
	if err != nil {
		return Status{}, err
	}
	s := settings{kernel: kernelShape{markVictim: markVictimTask}, tier: TierC, hierarchy: m.Hierarchy, abi: m.ABI, pidNS: m.pidNS(), limit: limit}
	coll, err := load(s, to)
	if err != nil {
		return Status{}, permission(err, capBPF, capPerfmon)
	}
	defer coll.Close()
	st := Status{Tier: m.Tier, ABI: m.ABI, Version: m.Version, Hierarchy: int(m.Hierarchy), Loaded: true}
	return st, handOver(old, g, to, coll.Programs[carryProgram])
}

// carryTasks adds the old victims that the new ledger has not seen itself, and
// returns those that both have.
func carryTasks(from, to *ebpf.Map) ([]Record, error) {
	var (
		key  TaskKey
		raw  []byte
		both []Record
	)
	it := from.Iterate()
	for it.Next(&key, &raw) {
		r := oldRecord(raw)
		err := to.Update(&key, &r, ebpf.UpdateNoExist)
		if errors.Is(err, ebpf.ErrKeyExist) {
			var there Record
			if to.Lookup(&key, &there) == nil && there.Flags&FlagCarried == 0 {
				both = append(both, r)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	return both, it.Err()
}

// carryInits adds what the old ledger watches, and the senders that the old one alone has:
// the new one was not asked to watch those inits yet. It is done before the old programs
// are detached and again after. from is nil where the old ledger has none.
func carryInits(from, to *ebpf.Map) error {
	if from == nil {
		return nil
	}
	var (
		key TaskKey
		raw []byte
	)
	it := from.Iterate()
	for it.Next(&key, &raw) {
		e := pinned.Decode[senderEntry](raw)
		var there senderEntry
		if to.Lookup(&key, &there) == nil && (there.BootNS != 0 || e.BootNS == 0) {
			continue
		}
		if err := to.Put(&key, &e); err != nil {
			return err
		}
	}
	return it.Err()
}

// oldRecord takes a value of another ABI for this one's: later ABIs append.
func oldRecord(raw []byte) Record {
	r := pinned.Decode[Record](raw)
	r.ABI, r.Size = ABI, recordSize
	r.Flags |= FlagCarried
	return r
}

// overlap is what both ledgers have counted in one cgroup.
type overlap struct {
	victims, own uint64
	events       map[uint64]bool
}

// carryCgroups hands the old counts over, less what the new ledger has counted
// itself. The new programs may be counting at the same time.
func carryCgroups(from, to *ebpf.Map, both []Record, carry *ebpf.Program) error {
	entries := map[uint64]cgroupEntry{}
	var (
		id  uint64
		raw []byte
	)
	it := from.Iterate()
	for it.Next(&id, &raw) {
		entries[id] = pinned.Decode[cgroupEntry](raw)
	}
	if err := it.Err(); err != nil {
		return err
	}
	twice := overlaps(entries, both)
	for id, e := range entries {
		e.Victims += e.CarriedVictims - twice[id].victims
		e.Own += e.CarriedOwn - twice[id].own
		e.Events += e.CarriedEvents - uint64(len(twice[id].events))
		if err := carryEntry(to, id, e, carry); err != nil {
			return err
		}
		step("cgroup carried")
	}
	return nil
}

// overlaps adds up, for each cgroup, the victims that both ledgers have.
func overlaps(entries map[uint64]cgroupEntry, both []Record) map[uint64]overlap {
	twice := map[uint64]overlap{}
	for _, r := range both {
		for id, depth := r.Cgroup, 0; id != 0 && depth < maxDepth; depth++ {
			e, ok := entries[id]
			if !ok {
				break
			}
			o := twice[id]
			if o.events == nil {
				o.events = map[uint64]bool{}
			}
			o.victims++
			o.events[r.Seq] = true
			if depth == 0 {
				o.own++
			}
			twice[id] = o
			id = e.Parent
		}
	}
	return twice
}

// carryEntry hands one cgroup over. Where the new ledger has it, a program adds
// the old counts in place, since a write from here would undo its own.
func carryEntry(to *ebpf.Map, id uint64, e cgroupEntry, carry *ebpf.Program) error {
	e.Turn &^= 1
	e.CarriedVictims, e.CarriedOwn, e.CarriedEvents = e.Victims, e.Own, e.Events
	e.Victims, e.Own, e.Events = 0, 0, 0
	for {
		missing, err := carry.Run(&ebpf.RunOptions{
			Context: []uint64{id, e.CarriedVictims, e.CarriedOwn, e.CarriedEvents, e.Made},
		})
		if err != nil {
			return err
		}
		if missing == 0 {
			return nil
		}
		err = to.Update(id, &e, ebpf.UpdateNoExist)
		if !errors.Is(err, ebpf.ErrKeyExist) {
			return err
		}
	}
}
