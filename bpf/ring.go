//go:build !no_loader

package bpf

import (
	"context"
	"errors"
)

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
