package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// Ledger is a pinned ledger, opened for reading. Its methods may be called
// concurrently, but not with or after Close.
type Ledger struct {
	gen   generation
	links []string
	// folder is the generation's, from before the links were listed; the zero folder if it
	// had only just changed.
	folder   folder
	meta     *pinned.Map
	byTask   *pinned.Map
	byCgroup *pinned.Map
	inits    *pinned.Map
	memories *pinned.Map
	about    metaValue
	tier     Tier
	version  uint32
}

// openTries bounds how often Open starts again since the ledger was replaced
// under its hands.
const openTries = 10

// Open opens the ledger pinned in dir (DefaultDir if empty) for reading.
// Errors wrap ErrAbsent, ErrABI, ErrPermission, ErrForeign or, in the middle of an upgrade
// or where pins are missing, ErrRetired.
func Open(dir string) (*Ledger, error) {
	if dir == "" {
		dir = DefaultDir
	}
	if err := rootsAlone(dir); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		g, err := currentGeneration(dir)
		if err != nil {
			return nil, err
		}
		l, err := g.open()
		if err == nil || try == openTries {
			return l, err
		}
		if now, e := currentGeneration(dir); e == nil && now == g {
			return nil, err
		}
	}
}

func (g generation) open() (*Ledger, error) {
	l := &Ledger{gen: g}
	if err := l.openMaps(); err != nil {
		_ = l.Close()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", ErrRetired, err)
		}
		return nil, err
	}
	return l, nil
}

func (l *Ledger) openMaps() error {
	var err error
	if l.meta, err = l.gen.openMap(mapMeta, pinned.ReadOnly); err != nil {
		return err
	}
	if l.about, err = about(l.meta); err != nil {
		return err
	}
	if l.about.ABI != ABI {
		return fmt.Errorf("%w: %d is loaded, this is %d", ErrABI, l.about.ABI, ABI)
	}
	if l.tier, l.version, err = l.gen.programs(); err != nil {
		return err
	}
	if l.byTask, err = l.gen.openMap(mapByTask, pinned.ReadOnly); err != nil {
		return err
	}
	if l.byCgroup, err = l.gen.openMap(mapByCgroup, pinned.ReadOnly); err != nil {
		return err
	}
	if l.inits, err = l.gen.openMap(mapInits, pinned.ReadWrite); err != nil {
		return err
	}
	if l.memories, err = l.gen.openMap(mapMemories, pinned.ReadOnly); err != nil {
		return err
	}
	f, err := folderOf(l.gen.path(""))
	if err != nil {
		return err
	}
	if f.settled() {
		l.folder = f
	}
	if l.links, err = l.gen.links(); err != nil {
		return err
	}
	return l.Whole()
}

// Close lets go of the maps; the ledger itself goes on.
func (l *Ledger) Close() error {
	var errs []error
	for _, m := range []*pinned.Map{l.meta, l.byTask, l.byCgroup, l.inits, l.memories} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// Whole returns an error that wraps ErrRetired where the ledger is not in force
// any more. Answers had before it gave none are true.
func (l *Ledger) Whole() error {
	m, err := about(l.meta)
	if err != nil {
		return err
	}
	if m.State != stateActive {
		return fmt.Errorf("%w: state %d", ErrRetired, m.State)
	}
	return l.stillWhole()
}

// stillWhole is generation.whole, at the cost of one call where nothing has changed since
// the ledger was opened: the link leads to the same folder, and no pin was removed.
func (l *Ledger) stillWhole() error {
	if now, err := folderOf(filepath.Join(l.gen.dir, currentName)); err == nil && now == l.folder {
		return nil
	}
	return l.gen.whole(l.links)
}

// Task looks a process up, by its ID in the node's PID namespace and its start
// in clock ticks since boot. False means that the OOM killer has not ended it,
// as far as the ledger reaches back: some 4,000 victims.
func (l *Ledger) Task(tgid uint32, startTicks uint64) (Record, bool, error) {
	r, ok, err := l.task(TaskKey{TGID: tgid, StartTicks: startTicks})
	if err == nil {
		err = l.Whole()
	}
	return r, ok && err == nil, err
}

func (l *Ledger) task(key TaskKey) (Record, bool, error) {
	var r Record
	err := pinned.Lookup(l.byTask, &key, &r)
	if errors.Is(err, unix.ENOENT) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("look a task up in the OOM ledger: %w", permission(err, capBPF))
	}
	return r, true, nil
}

// Cgroup is what the ledger knows of one cgroup and all below it.
type Cgroup struct {
	// ID of the cgroup, and of the one above it, 0 at the root.
	ID, Parent uint64
	// Victims were killed in it or below, Own of them in itself.
	Victims, Own uint64
	// Events are the OOM events that had victims in it or below.
	Events uint64
	// NSInits of the victims were process 1 of a PID namespace, as a container's
	// init is; those of the ledger before an upgrade are not counted.
	NSInits uint32
	// Last is the newest victim's.
	Last Last

	made uint64 // see cgroupEntry
}

// Last are the essentials of a cgroup's newest victim. See Record.
type Last struct {
	BootNS     uint64
	Seq        uint64
	Domain     uint64
	Constraint uint32
	Order      int32
	TGID       uint32
	StartTicks uint64
	Comm       Comm
	Flags      Flags
}

// Cgroup looks a cgroup up by its ID, the inode number of its folder. False
// means that nothing was killed in it, as far as the ledger reaches back: some
// 8,000 cgroups.
func (l *Ledger) Cgroup(id uint64) (Cgroup, bool, error) {
	c, ok, err := l.cgroup(id)
	if err == nil {
		err = l.Whole()
	}
	return c, ok && err == nil, err
}

// maxTorn bounds how often an entry is read again since it was being written.
const maxTorn = 1000

func (l *Ledger) cgroup(id uint64) (Cgroup, bool, error) {
	for range maxTorn {
		var e, again cgroupEntry
		err := pinned.Lookup(l.byCgroup, &id, &e)
		if errors.Is(err, unix.ENOENT) {
			return Cgroup{}, false, nil
		}
		if err != nil {
			return Cgroup{}, false, fmt.Errorf("look a cgroup up in the OOM ledger: %w", permission(err, capBPF))
		}
		if err := pinned.Lookup(l.byCgroup, &id, &again); err == nil && again == e && e.Turn%2 == 0 {
			return e.answer(id), true, nil
		}
	}
	return Cgroup{}, false, fmt.Errorf("look cgroup %d up in the OOM ledger: being written at each of %d readings", id, maxTorn)
}

func (e cgroupEntry) answer(id uint64) Cgroup {
	return Cgroup{
		ID: id, Parent: e.Parent,
		Victims: e.Victims + e.CarriedVictims,
		Own:     e.Own + e.CarriedOwn,
		Events:  e.Events + e.CarriedEvents,
		NSInits: e.NSInits, made: e.Made,
		Last: Last{
			BootNS: e.LastNS, Seq: e.LastSeq, Domain: e.LastDomain, Constraint: e.LastConstraint,
			Order: e.LastOrder, TGID: e.LastTGID, StartTicks: e.LastStartTicks, Comm: e.LastComm, Flags: e.LastFlags,
		},
	}
}

// Records returns all victims that the ledger still has, in no order.
func (l *Ledger) Records() ([]Record, error) {
	var list []Record
	err := pinned.Each(l.byTask, func(_ TaskKey, r Record) {
		list = append(list, r)
	})
	if err != nil {
		return nil, fmt.Errorf("list the OOM ledger's victims: %w", permission(err, capBPF))
	}
	return list, l.Whole()
}
