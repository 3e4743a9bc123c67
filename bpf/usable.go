package bpf

import (
	"errors"
	"fmt"
	"time"
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

const defaultWait = 10 * time.Second

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
	if err := rootsAlone(o.Dir); err != nil {
		return Status{}, err
	}
	g, err := currentGeneration(o.Dir)
	if err != nil {
		return Status{}, err
	}
	m, err := g.about()
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
