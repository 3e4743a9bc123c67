//go:build !no_loader

package bpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	lockName = "ledger.lock"
	// eventTime is how long the OOM killer may be at one event: a new ledger is
	// attached for so long before the old one is detached, so that each event is
	// seen as a whole by one of them.
	eventTime = 300 * time.Millisecond
)

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
	defer release(lock)
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

// pids returns the PID namespace for a ledger that takes the place of old.
func (o Options) pids(old *oldLedger) (uint32, error) {
	switch {
	case o.OwnPIDs:
		return ownPIDNamespace()
	case old != nil:
		return old.about.pidNS(), nil
	default:
		return firstPIDNamespace, nil
	}
}
