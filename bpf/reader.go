//go:build !no_loader

package bpf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// Reader returns every record of the ring, those first that were written while
// nobody read. The ring has one reader at a time.
type Reader struct {
	dir  string
	lock *os.File

	// read is held by the one Read that is under way, and guards what follows.
	read sync.Mutex
	gen  generation
	id   ebpf.MapID // of the ring's map
	seen map[TaskKey]struct{}

	// mu guards what follows. It is never held while waiting.
	mu     sync.Mutex
	ring   *ringbuf.Reader
	closed bool
}

const (
	ringLockName = "ring.lock"
	// replacedPoll is how often an idle reader looks for another ledger.
	replacedPoll = time.Second
	// maxSeen bounds what is remembered against repetitions.
	maxSeen = 4096
)

// NewReader opens the ring of the ledger in dir (DefaultDir if empty) for
// reading; the lock file is in lockDir (DefaultLockDir if empty). Errors wrap
// ErrBusy where another process reads the ring, and else the errors of Open.
func NewReader(dir, lockDir string) (*Reader, error) {
	o := Options{Dir: dir, LockDir: lockDir}.withDefaults()
	lock, err := takeLock(o.LockDir, ringLockName, 0)
	if err != nil {
		return nil, err
	}
	r := &Reader{dir: o.Dir, lock: lock, seen: map[TaskKey]struct{}{}}
	if err := r.reopen(); err != nil {
		release(lock)
		return nil, err
	}
	return r, nil
}

// Read returns the next record, and waits for one. It ends with ctx's error, with
// os.ErrClosed after Close, with ErrRecord for bytes that are none (the next
// Read goes on behind them), and with ErrRetired where the ledger was unloaded;
// one that was replaced is followed.
func (r *Reader) Read(ctx context.Context) (Record, error) {
	r.read.Lock()
	defer r.read.Unlock()
	stop := context.AfterFunc(ctx, r.wake)
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return Record{}, err
		}
		raw, err := r.next()
		switch {
		case errors.Is(err, ringbuf.ErrFlushed):
			continue // woken
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := r.follow(); err != nil {
				return Record{}, err
			}
			continue
		case err != nil:
			return Record{}, err
		}
		rec, err := DecodeRecord(raw)
		if err != nil {
			return Record{}, err
		}
		if r.isNew(rec.Key()) {
			return rec, nil
		}
	}
}

func (r *Reader) next() ([]byte, error) {
	r.mu.Lock()
	ring, closed := r.ring, r.closed
	r.mu.Unlock()
	if closed {
		return nil, os.ErrClosed
	}
	ring.SetDeadline(time.Now().Add(replacedPoll))
	raw, err := ring.Read()
	return raw.RawSample, err
}

// isNew is false for a victim that was read already: two ledgers, one taking
// over from the other, may both have it.
func (r *Reader) isNew(key TaskKey) bool {
	if _, ok := r.seen[key]; ok {
		return false
	}
	if len(r.seen) >= maxSeen {
		clear(r.seen)
	}
	r.seen[key] = struct{}{}
	return true
}

// follow goes over to the ledger in force, if it has another ring. The old one
// has been read to its end.
func (r *Reader) follow() error {
	now, err := currentGeneration(r.dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRetired, err)
	}
	if now == r.gen {
		return nil
	}
	err = r.reopen()
	if errors.Is(err, ErrAbsent) {
		return fmt.Errorf("%w: %w", ErrRetired, err)
	}
	return err
}

// reopen opens the ring of the ledger in force, unless it is the same.
func (r *Reader) reopen() error {
	l, err := Open(r.dir)
	if err != nil {
		return err
	}
	defer discard(l)
	events, err := l.gen.loadMap(mapEvents)
	if err != nil {
		return err
	}
	defer discard(events)
	info, err := events.Info()
	if err != nil {
		return fmt.Errorf("read the OOM ledger's ring: %w", err)
	}
	id, _ := info.ID()
	r.gen = l.gen
	if id == r.id {
		return nil
	}
	ring, err := ringbuf.NewReader(events)
	if err != nil {
		return fmt.Errorf("read the OOM ledger's ring: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(os.ErrClosed, ring.Close())
	}
	old := r.ring
	r.ring, r.id = ring, id
	if old != nil {
		return old.Close()
	}
	return nil
}

func (r *Reader) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		_ = r.ring.Flush() // fails once closed only
	}
}

// Close ends a Read that is waiting, and lets others read the ring.
func (r *Reader) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	ring := r.ring
	r.mu.Unlock()
	release(r.lock)
	return ring.Close()
}
