package bpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// Options are the options of Load. The zero value is the usual.
type Options struct {
	// Dir is where the ledger is pinned, on a BPF filesystem; DefaultDir if empty.
	Dir string
	// LockDir is where the lock file is; DefaultLockDir if empty.
	LockDir string
	// Tier forces one. TierAuto takes what is pinned, or the best that can be had.
	Tier Tier
	// OwnPIDs asks for a ledger with the PIDs of this process's PID namespace, which is
	// the node's where this process is started by containerd: also where the node is a
	// container itself. Else the PIDs are those of the ledger that is loaded, or of
	// the kernel's first PID namespace.
	OwnPIDs bool
	// Wait is how long another loader is waited for, 10 s if 0.
	Wait time.Duration

	// For tests: another ABI or version than this program's.
	abi, version *uint32
	// For tests: no kill can be under way.
	noEvents bool
}

const (
	defaultWait = 10 * time.Second
	lockName    = "ledger.lock"
	// eventTime is how long the OOM killer may be at one event: a new ledger is
	// attached for so long before the old one is detached, so that each event is
	// seen as a whole by one of them.
	eventTime = 300 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.LockDir == "" {
		o.LockDir = DefaultLockDir
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.abi == nil {
		o.abi = new(uint32(ABI))
	}
	if o.version == nil {
		o.version = new(uint32(Version))
	}
	return o
}

// Refusal is a tier that could not be had.
type Refusal struct {
	Tier Tier
	Err  error
}

// Status is the ledger in force.
type Status struct {
	// Tier in force.
	Tier Tier
	// ABI and Version of the ledger.
	ABI, Version uint32
	// Hierarchy is the version of cgroups that memory is on.
	Hierarchy int
	// Loaded is true if this call put it in force; false where it was already.
	Loaded bool
	// Refused are the better tiers and why each was refused. It is empty where
	// this call loaded nothing: see Trial.
	Refused []Refusal

	pidNS uint32
}

// Load makes sure that a ledger is pinned and in force. Where one is, of this
// ABI and version or newer, that costs one lookup; else it is loaded, or the old
// one replaced without losing a kill, under a lock. Errors wrap ErrPermission,
// ErrBusy or ErrABI (a ledger of a later ABI is left alone) where they apply.
func Load(o Options) (Status, error) {
	o = o.withDefaults()
	if st, err := o.inForce(); err == nil && o.tidy() || leftAlone(err) {
		return st, err
	}
	if err := ensureBPFFS(o.Dir); err != nil {
		return Status{}, fmt.Errorf("load the OOM ledger: %w", err)
	}
	lock, err := takeLock(o.LockDir, lockName, o.Wait)
	if err != nil {
		return Status{}, err
	}
	defer lock.Close()
	st, err := o.inForce()
	if err == nil {
		return st, o.clean()
	}
	if leftAlone(err) {
		return st, err
	}
	st, err = o.replace()
	if err != nil {
		return st, fmt.Errorf("load the OOM ledger: %w", err)
	}
	return st, nil
}

// leftAlone reports whether an error is of a ledger that is not to be replaced.
func leftAlone(err error) bool { return errors.Is(err, ErrABI) || errors.Is(err, ErrPIDs) }

// Usable returns nil where a ledger is pinned in DefaultDir that Load with OwnPIDs would
// leave as it is, at the cost of some look-ups. ErrABI and ErrPIDs are of a ledger that
// Load would refuse to touch; any other error means that Load has something to do.
func Usable() error {
	o := Options{OwnPIDs: true}.withDefaults()
	if _, err := o.inForce(); err != nil {
		return err
	}
	if !o.tidy() {
		return errors.New("programs of an older OOM ledger are left over")
	}
	return nil
}

// inForce returns the status of a ledger that will do, an error where there is
// none, and ErrABI where there is a later one.
func (o Options) inForce() (Status, error) {
	g, err := currentGeneration(o.Dir)
	if err != nil {
		return Status{}, err
	}
	meta, err := g.openMap(mapMeta, true)
	if err != nil {
		return Status{}, err
	}
	defer discard(meta)
	m, err := about(meta)
	if err != nil {
		return Status{}, err
	}
	if m.ABI > *o.abi {
		return Status{}, fmt.Errorf("%w: %d is loaded, this is %d; unload it first", ErrABI, m.ABI, *o.abi)
	}
	tier, version, err := g.programs()
	if err != nil {
		return Status{}, err
	}
	if err := o.checkPIDs(m); err != nil {
		return Status{}, err
	}
	if m.ABI < *o.abi || version < *o.version || m.State != stateActive || o.Tier != TierAuto && o.Tier != tier {
		return Status{}, ErrRetired
	}
	if _, err := g.links(); err != nil {
		return Status{}, err
	}
	if err := g.allMaps(); err != nil {
		return Status{}, err
	}
	if m.Tier != tier || m.Version != version { // its loader died just after the switch
		return Status{}, ErrRetired
	}
	return Status{Tier: tier, ABI: m.ABI, Version: version, Hierarchy: int(m.Hierarchy)}, nil
}

// tidy reports whether nothing is left of loaders that died. Their programs may
// still be attached, and do the same work again.
func (o Options) tidy() bool {
	current, err := currentGeneration(o.Dir)
	if err != nil {
		return false
	}
	others, err := otherGenerations(o.Dir, current.name)
	return err == nil && len(others) == 0
}

// clean removes it.
//
// Preconditions: the lock is held, and what is in force will do.
func (o Options) clean() error {
	current, err := currentGeneration(o.Dir)
	if err != nil {
		return err
	}
	return removeStale(o.Dir, current.name)
}

// replace puts a new generation in force, in the place of the one there is.
//
// Preconditions: the lock is held.
func (o Options) replace() (Status, error) {
	limit := new(memlock)
	defer limit.restore()
	old, err := openOld(o.Dir)
	if err != nil {
		return Status{}, err
	}
	if old != nil {
		defer old.close()
		if g, ok := old.heir(); ok {
			return finish(old, g, limit)
		}
	}
	if err := old.removeOthers(o.Dir); err != nil {
		return Status{}, err
	}
	s, err := o.settings(old, limit)
	if err != nil {
		return Status{}, err
	}
	if old != nil && old.about.pidNS() != s.pidNS {
		return o.startAnew()
	}
	a, st, err := o.bestTier(s, old)
	if err != nil {
		return st, err
	}
	defer a.close()
	share := old.mapsFor(o, st.Tier)
	g := newGeneration(o.Dir, st.Tier, st.Version)
	if err := o.pin(a, g, st, old, share != nil); err != nil {
		return st, errors.Join(err, g.remove())
	}
	step("pinned")
	if old != nil && !o.noEvents {
		time.Sleep(eventTime)
	}
	if share != nil {
		return st, o.takeOver(a, g, st, old)
	}
	return st, handOver(old, g, a.coll.Maps, a.coll.Programs[carryProgram])
}

// Unload takes the ledger away, at once for its readers. Kills from then on are
// known by the cgroups' counters alone. It is no error if there was none.
func Unload(dir, lockDir string) error {
	o := Options{Dir: dir, LockDir: lockDir}.withDefaults()
	lock, err := takeLock(o.LockDir, lockName, o.Wait)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unload(o.Dir); err != nil {
		return fmt.Errorf("unload the OOM ledger: %w", permission(err))
	}
	return nil
}

// settings returns the settings of a ledger that takes the place of old.
func (o Options) settings(old *oldLedger, limit *memlock) (settings, error) {
	h, err := oom.FindHierarchy()
	if err != nil {
		return settings{}, err
	}
	pids, err := o.pids(old)
	return settings{hierarchy: uint32(h.Version), abi: *o.abi, pidNS: pids, limit: limit}, err
}

// startAnew takes away a ledger with other PIDs, in which nothing of it can be written, and
// loads one.
//
// Preconditions: the lock is held.
func (o Options) startAnew() (Status, error) {
	if err := unload(o.Dir); err != nil {
		return Status{}, err
	}
	if err := ensureBPFFS(o.Dir); err != nil {
		return Status{}, err
	}
	return o.replace()
}
