//go:build !no_loader

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// testStep is called between the steps of a load, with their names. It is nil
// but in tests, which end the loader there.
var testStep func(name string)

func step(name string) {
	if testStep != nil {
		testStep(name)
	}
}

// oldLedger is the generation in force when another is to take its place. All
// methods allow nil.
type oldLedger struct {
	generation
	about  metaValue
	counts metaValue
	maps   map[string]*ebpf.Map
}

// openOld opens the generation in force, nil where there is none. One that is
// too damaged to be read counts as none.
func openOld(dir string) (*oldLedger, error) {
	g, err := currentGeneration(dir)
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	old := &oldLedger{generation: g, maps: map[string]*ebpf.Map{}}
	err = old.open()
	if err == nil {
		return old, nil
	}
	old.close()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrRetired) {
		return nil, nil
	}
	return nil, err
}

// open opens the maps that a ledger of its ABI has.
func (old *oldLedger) open() (err error) {
	meta, err := old.openMap(mapMeta, pinned.ReadOnly)
	if err != nil {
		return err
	}
	defer discard(meta)
	if old.about, err = about(meta); err != nil {
		return err
	}
	if old.counts, err = counts(meta); err != nil {
		return err
	}
	for _, name := range mapNamesOf(old.about.ABI) {
		if old.maps[name], err = old.loadMap(name); err != nil {
			return err
		}
	}
	return nil
}

func (old *oldLedger) close() {
	if old == nil {
		return
	}
	for _, m := range old.maps {
		if m != nil {
			discard(m)
		}
	}
}

// removeOthers removes the generations beside it, which loaders that died have left.
func (old *oldLedger) removeOthers(dir string) error {
	keep := ""
	if old != nil {
		keep = old.name
	}
	return removeStale(dir, keep)
}

// mapsFor returns the maps for the new programs to go on with: those of the old
// ones where the ABI is the same. Both then write to the same maps for a
// moment, and by_task's first writer of a victim is the one that counts it.
// Flights are shared within a tier, so that an event that the switch falls into
// stays one; another tier's programs use them otherwise.
func (old *oldLedger) mapsFor(o Options, tier Tier) map[string]*ebpf.Map {
	if old == nil || old.about.ABI != *o.abi || old.about.State != stateActive {
		return nil
	}
	share := maps.Clone(old.maps)
	if was, _, err := old.programs(); err != nil || was != tier {
		delete(share, mapFlights)
	}
	return share
}

// since is when the recording without a gap began: the old ledger's start if
// it is attached still, else now.
func (old *oldLedger) since() uint64 {
	if old == nil || old.about.State != stateActive {
		return BootNow()
	}
	if _, err := old.links(); err != nil {
		return BootNow()
	}
	return old.about.SinceNS
}

// heir finds a generation that was to take over from old when its loader died
// in the middle: it is complete, and old may be detached already.
func (old *oldLedger) heir() (generation, bool) {
	if old.about.State == stateActive {
		return generation{}, false
	}
	gens, err := otherGenerations(old.dir, old.name)
	if err != nil {
		return generation{}, false
	}
	for _, g := range gens {
		m, err := g.about()
		if err == nil && m.Previous == old.about.LoadedNS {
			return g, true
		}
	}
	return generation{}, false
}

// pinnable refuses links that would end with this process: kprobes before
// Linux 5.15 are no BPF links.
func pinnable(a *attached) error {
	for name, l := range a.links {
		if _, err := l.Info(); err != nil {
			return fmt.Errorf("%s can't be pinned: %w", name, err)
		}
	}
	return nil
}

// pin pins maps and links into g, which is not in force yet. New maps are
// described first.
func (o Options) pin(a *attached, g generation, st Status, old *oldLedger, shared bool) error {
	if !shared {
		if err := o.describe(a.coll.Maps[mapMeta], st, old); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(g.dir, g.name), 0o700); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	step("folder made")
	for name, l := range a.links {
		if err := l.Pin(g.path(name)); err != nil {
			return fmt.Errorf("pin %s: %w", name, err)
		}
		step("link pinned")
	}
	// meta comes last: a generation that has it is complete.
	for _, name := range mapNames {
		if name != mapMeta {
			if err := pinMap(a.coll.Maps[name], g.path(name)); err != nil {
				return err
			}
			step("map pinned")
		}
	}
	return pinMap(a.coll.Maps[mapMeta], g.path(mapMeta))
}

// pinMap pins a map that may be pinned elsewhere too, which it stays.
func pinMap(m *ebpf.Map, path string) error {
	c, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pin %s: %w", path, err)
	}
	defer discard(c)
	if err := c.Pin(path); err != nil {
		return fmt.Errorf("pin %s: %w", path, err)
	}
	return nil
}

// seqGap keeps the event numbers of a new ledger apart from those that the old
// one returns while both are attached.
const seqGap = 1 << 20

// describe fills meta of new maps.
func (o Options) describe(meta *ebpf.Map, st Status, old *oldLedger) error {
	m := metaValue{
		ABI: *o.abi, State: stateActive, Version: *o.version, Tier: st.Tier,
		Hierarchy: uint32(st.Hierarchy), PIDNS: st.pidNS, SinceNS: old.since(), LoadedNS: BootNow(),
	}
	var c metaValue
	if old != nil {
		m.Previous = old.about.LoadedNS
		c = old.counts
		c.Seq += seqGap
	}
	if err := meta.Put(metaAbout, &m); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	if _, err := meta.LookupBytes(metaCounts); err != nil {
		return fmt.Errorf("read meta: %w", err)
	}
	if old == nil {
		return nil
	}
	if err := meta.Put(metaCounts, &c); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}

// takeOver puts g in force over the maps of old, whose programs then go.
func (o Options) takeOver(a *attached, g generation, st Status, old *oldLedger) error {
	m := old.about
	m.Version, m.Tier, m.Hierarchy = *o.version, st.Tier, uint32(st.Hierarchy)
	m.SinceNS, m.Previous, m.LoadedNS = old.since(), old.about.LoadedNS, BootNow()
	if err := g.makeCurrent(); err != nil {
		return err
	}
	step("switched")
	if err := a.coll.Maps[mapMeta].Put(metaAbout, &m); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	step("described")
	return old.remove()
}

// setState writes the state alone, so that it can be done to any ABI.
func setState(meta *ebpf.Map, state uint32) error {
	raw, err := meta.LookupBytes(metaAbout)
	if err != nil {
		return fmt.Errorf("read meta: %w", err)
	}
	binary.NativeEndian.PutUint32(raw[4:], state)
	if err := meta.Put(metaAbout, raw); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}
