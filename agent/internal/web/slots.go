package web

import (
	"cmp"
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
	// the time has maxRenders/(1+restFactor), half a core. On a busy node the use is longer
	// than the time on the processor.
	restFactor = 3
	maxRest    = 200 * time.Millisecond
	// maxServed bounds the peers that are remembered.
	maxServed = 1024
)

// slots bound the answers that are made at once. A free slot goes to the peer with the fewest
// slots, and of those to the peer that was served the longest ago: many requests of a peer,
// or of some, do not shut another out.
type slots struct {
	mu      sync.Mutex // guards what follows
	taken   int
	of      map[netip.Prefix]int // taken, by peer
	waiting []*waiter            // oldest first
	grants  uint64
	served  map[netip.Prefix]uint64 // the newest grant, by peer
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
	if s.served == nil || len(s.served) > maxServed {
		s.served = map[netip.Prefix]uint64{}
	}
	for s.taken < maxRenders && len(s.waiting) > 0 {
		next := 0
		for i, w := range s.waiting {
			if s.before(w.peer, s.waiting[next].peer) {
				next = i
			}
		}
		w := s.waiting[next]
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.taken++
		s.of[w.peer]++
		s.grants++
		s.served[w.peer] = s.grants
		close(w.ready)
	}
}

// before reports whether a peer is to have a slot before another.
func (s *slots) before(peer, other netip.Prefix) bool {
	return cmp.Or(cmp.Compare(s.of[peer], s.of[other]), cmp.Compare(s.served[peer], s.served[other])) < 0
}
