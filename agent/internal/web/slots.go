package web

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxRenders are the answers that are made at once. Other requests wait, and are
	// refused after renderWait.
	maxRenders = 2
	renderWait = 5 * time.Second
	// restFactor is how much longer than its use a slot rests, up to maxRest: whoever asks all
	// the time has maxRenders/(1+restFactor), half a core.
	restFactor = 3
	maxRest    = time.Second
)

// slots bound the answers that are made at once. A slot that is given back goes to the peer
// with the fewest slots, so that a peer with many requests does not shut the others out.
type slots struct {
	mu      sync.Mutex // guards what follows
	taken   int
	of      map[netip.Prefix]int // taken, by peer
	waiting []*waiter            // oldest first
}

type waiter struct {
	peer  netip.Prefix
	ready chan struct{} // closed with a slot taken
}

// take waits for a slot, and reports whether there is one. A slot that is taken is to be
// given back.
func (s *slots) take(ctx context.Context, peer netip.Prefix) bool {
	w := s.enter(peer)
	wait := time.NewTimer(renderWait)
	defer wait.Stop()
	select {
	case <-w.ready:
		return true
	case <-ctx.Done():
	case <-wait.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.waiting, w)
	if i < 0 {
		return true // it was given just now
	}
	s.waiting = slices.Delete(s.waiting, i, i+1)
	return false
}

func (s *slots) enter(peer netip.Prefix) *waiter {
	w := &waiter{peer: peer, ready: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, w)
	s.grantLocked()
	return w
}

// rest frees the slot of a peer after the slot has rested.
func (s *slots) rest(peer netip.Prefix, use time.Duration) {
	time.AfterFunc(min(restFactor*use, maxRest), func() { s.giveBack(peer) })
}

// giveBack frees the slot of a peer.
func (s *slots) giveBack(peer netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.of[peer]--; s.of[peer] == 0 {
		delete(s.of, peer)
	}
	s.grantLocked()
}

// grantLocked hands free slots to those that wait.
func (s *slots) grantLocked() {
	if s.of == nil {
		s.of = map[netip.Prefix]int{}
	}
	for s.taken < maxRenders && len(s.waiting) > 0 {
		next := 0
		for i, w := range s.waiting {
			if s.of[w.peer] < s.of[s.waiting[next].peer] {
				next = i
			}
		}
		w := s.waiting[next]
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.taken++
		s.of[w.peer]++
		close(w.ready)
	}
}
