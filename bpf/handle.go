package bpf

import (
	"errors"
	"sync"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// Handle asks the ledger that is in force in a directory, whichever ledger that is: a
// ledger may be replaced or unloaded at any time. Its methods may be called concurrently.
// Errors are those of Open.
type Handle struct {
	dir, lockDir string
	// wait is how long to wait for the next ledger while one takes over.
	wait time.Duration

	// mu guards open. It is held while the ledger is asked, which takes microseconds and
	// never waits.
	mu   sync.Mutex
	open *Ledger // nil while none is
}

// NewHandle returns a Handle of the ledger pinned in dir (DefaultDir if empty), whose
// readers' lock is in lockDir (DefaultLockDir if empty). There need not be a ledger yet.
func NewHandle(dir, lockDir string) *Handle {
	return &Handle{dir: withDefault(dir), lockDir: lockDir}
}

func withDefault(dir string) string {
	if dir == "" {
		return DefaultDir
	}
	return dir
}

// Close lets go of the ledger, which goes on.
func (h *Handle) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closeLocked()
}

func (h *Handle) closeLocked() {
	if h.open != nil {
		discard(h.open)
		h.open = nil
	}
}

// handoverPoll is how often the next ledger is looked for.
const handoverPoll = 5 * time.Millisecond

// ask runs f on the ledger in force, and again on its successor where that was replaced
// meanwhile: what f found holds when ask returns no error.
func (h *Handle) ask(f func(*Ledger) error) error {
	deadline := time.Now().Add(h.wait)
	for try := 1; ; try++ {
		err := h.askOnce(f)
		switch {
		case !errors.Is(err, ErrRetired), errors.Is(err, ErrAbsent):
			return err
		case try == 1 && h.wait == 0: // the next try opens the ledger in force, if there is one
		case time.Now().After(deadline), !h.replaced():
			return err
		default:
			time.Sleep(handoverPoll)
		}
	}
}

func (h *Handle) askOnce(f func(*Ledger) error) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		if h.open, err = Open(h.dir); err != nil {
			h.open = nil
			return err
		}
	}
	if err = f(h.open); err == nil {
		err = h.open.Whole()
	}
	if errors.Is(err, ErrRetired) {
		h.closeLocked()
	}
	return err
}

// peek runs f on the ledger that is open, and returns nil where none is.
func (h *Handle) peek(f func(*Ledger) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		return nil
	}
	return f(h.open)
}

// replaced reports whether another ledger is in force, or is just taking over.
func (h *Handle) replaced() bool {
	g, err := currentGeneration(h.dir)
	if err != nil {
		return false
	}
	m, err := g.about()
	if err != nil || m.State == stateRetired {
		return false
	}
	if m.State == stateRetiring {
		return true
	}
	_, err = g.links()
	return err == nil && m.ABI == ABI
}

// Records returns all victims that the ledger still has, in no order.
func (h *Handle) Records() (list []Record, err error) {
	err = h.ask(func(l *Ledger) (err error) {
		list, err = l.Records()
		return err
	})
	return list, err
}

// Meta describes the ledger and counts what it saw.
func (h *Handle) Meta() (m Meta, err error) {
	err = h.ask(func(l *Ledger) (err error) {
		m, err = l.Meta()
		return err
	})
	return m, err
}

// Memory returns what filled the memory at an OOM event, by its number. False means that
// the ledger does not know: see Ledger.Memory.
func (h *Handle) Memory(seq uint64) (m oom.Memory, ok bool, err error) {
	err = h.ask(func(l *Ledger) (err error) {
		m, ok, err = l.memory(seq)
		return err
	})
	return m, ok && err == nil, err
}

// Senders returns the senders of all SIGKILLs to inits of containers: see Ledger.Senders.
func (h *Handle) Senders() (list []Sender, err error) {
	err = h.ask(func(l *Ledger) (err error) {
		list, err = l.Senders()
		return err
	})
	return list, err
}

// Forget makes room for other inits: see Ledger.Forget.
func (h *Handle) Forget(init TaskKey) error {
	return h.ask(func(l *Ledger) error { return l.Forget(init) })
}

// Sweep forgets inits that have ended, for which nobody has asked in time. It does nothing
// in a process that does not see the node's PIDs.
func (h *Handle) Sweep() error {
	return h.ask(func(l *Ledger) error {
		if l.samePIDs() != nil {
			return nil //nolint:nilerr // to this process every init has ended
		}
		return l.sweep()
	})
}

// Parent returns the ID of the cgroup above another, as far as the ledger knows: also of
// removed ones.
func (h *Handle) Parent(id uint64) (uint64, bool) {
	var above uint64
	err := h.ask(func(l *Ledger) error {
		c, _, err := l.Cgroup(id)
		above = c.Parent
		return err
	})
	return above, err == nil && above != 0
}
