// Package ledger is the ledger in force on the node, whichever it is: it may be
// replaced or unloaded at any time.
package ledger

import (
	"errors"
	"sync"

	"github.com/oomwitness/oomwitness/bpf"
)

// Ledger asks the one in force, opened again where it was replaced. Its methods
// may be called concurrently. Errors are those of bpf.Open.
type Ledger struct {
	dir, lockDir string

	// mu guards open, and is held while the ledger is asked, which never waits.
	mu   sync.Mutex
	open *bpf.Ledger // nil while none is
}

// New returns the ledger pinned in dir, whose readers' lock is in lockDir; the
// usual ones if empty. There need not be one yet.
func New(dir, lockDir string) *Ledger { return &Ledger{dir: dir, lockDir: lockDir} }

// Close lets go of it.
func (l *Ledger) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeLocked()
}

func (l *Ledger) closeLocked() {
	if l.open != nil {
		_ = l.open.Close() // it was only read
		l.open = nil
	}
}

// ask runs f on the ledger in force, on the next one if need be.
func (l *Ledger) ask(f func(*bpf.Ledger) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	const tries = 2
	var err error
	for range tries {
		if l.open == nil {
			if l.open, err = bpf.Open(l.dir); err != nil {
				l.open = nil
				return err
			}
		}
		if err = f(l.open); !errors.Is(err, bpf.ErrRetired) {
			return err
		}
		l.closeLocked()
	}
	return err
}

// Reader opens the ring, which one process reads at a time.
func (l *Ledger) Reader() (*bpf.Reader, error) { return bpf.NewReader(l.dir, l.lockDir) }

// Records returns all victims that the ledger still has, in no order.
func (l *Ledger) Records() (list []bpf.Record, err error) {
	err = l.ask(func(b *bpf.Ledger) (err error) {
		list, err = b.Records()
		return err
	})
	return list, err
}

// Meta describes it and counts what it saw.
func (l *Ledger) Meta() (m bpf.Meta, err error) {
	err = l.ask(func(b *bpf.Ledger) (err error) {
		if m, err = b.Meta(); err == nil {
			err = b.Whole() // one that was replaced counts no more
		}
		return err
	})
	return m, err
}

// Parent returns the cgroup above another, as far as the ledger knows: also of
// removed ones.
func (l *Ledger) Parent(id uint64) (uint64, bool) {
	var above uint64
	err := l.ask(func(b *bpf.Ledger) error {
		c, _, err := b.Cgroup(id)
		above = c.Parent
		return err
	})
	return above, err == nil && above != 0
}
