package bpf

import (
	"context"
	"errors"
	"sync"
)

// Handle asks the ledger that is in force in a directory, whichever ledger that is: a
// ledger may be replaced or unloaded at any time. Its methods may be called concurrently.
// Errors are those of Open.
type Handle struct {
	dir, lockDir string

	// mu guards open, and is held while the ledger is asked, which never waits.
	mu   sync.Mutex
	open *Ledger // nil while none is
}

// NewHandle returns a Handle of the ledger pinned in dir (DefaultDir if empty), whose
// readers' lock is in lockDir (DefaultLockDir if empty). There need not be a ledger yet.
func NewHandle(dir, lockDir string) *Handle { return &Handle{dir: dir, lockDir: lockDir} }

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

// ask runs f on the ledger in force, on the next one if that was replaced meanwhile.
func (h *Handle) ask(f func(*Ledger) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	const tries = 2
	var err error
	for range tries {
		if h.open == nil {
			if h.open, err = Open(h.dir); err != nil {
				h.open = nil
				return err
			}
		}
		if err = f(h.open); !errors.Is(err, ErrRetired) {
			return err
		}
		h.closeLocked()
	}
	return err
}

// Ring reads the ring of the ledger in force. Its methods are those of a Reader.
type Ring struct {
	*Reader
	handle *Handle
	past   map[TaskKey]struct{} // what Past has returned, and Read has not met yet
}

// Ring opens the ring, which one process reads at a time.
func (h *Handle) Ring() (*Ring, error) {
	r, err := NewReader(h.dir, h.lockDir)
	if err != nil {
		return nil, err
	}
	return &Ring{Reader: r, handle: h, past: map[TaskKey]struct{}{}}, nil
}

// Past returns all victims that the ledger still has, in no order. Read leaves them out.
// Past is not for use while Read waits.
func (r *Ring) Past() ([]Record, error) {
	list, err := r.handle.Records()
	for i := range list {
		r.past[list[i].Key()] = struct{}{}
	}
	return list, err
}

// handovers is how many Reads in a row may find that a ledger is just replaced. Each
// waits for replacedPoll.
const handovers = 3

// Read is Reader.Read, which goes on while a ledger of another version takes over: for a
// moment none is in force then.
func (r *Ring) Read(ctx context.Context) (Record, error) {
	for retired := 0; ; {
		rec, err := r.Reader.Read(ctx)
		_, known := r.past[rec.Key()]
		switch {
		case errors.Is(err, ErrRetired) && !errors.Is(err, ErrAbsent) && retired < handovers:
			retired++
		case err == nil && known:
			delete(r.past, rec.Key())
		default:
			return rec, err
		}
	}
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
		if m, err = l.Meta(); err == nil {
			err = l.Whole() // one that was replaced counts no more
		}
		return err
	})
	return m, err
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
