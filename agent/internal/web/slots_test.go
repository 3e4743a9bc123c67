package web

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func peer(n int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", n)) }

// TestSlotsFair: a peer with many requests does not keep a slot from a peer with one.
func TestSlotsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		order := make(chan string, 20)
		release := make(chan struct{})
		ask := func(n int) {
			go func() {
				if !s.take(t.Context(), peer(n)) {
					order <- "refused"
					return
				}
				order <- fmt.Sprint(n)
				<-release
				s.giveBack(peer(n))
			}()
			synctest.Wait()
		}
		for range 10 {
			ask(1)
		}
		ask(2)
		require.Equal(t, "1 1", <-order+" "+<-order)
		release <- struct{}{}
		require.Equal(t, "2", <-order, "the eleventh request")
		release <- struct{}{}
		release <- struct{}{}
		require.Equal(t, "1 1", <-order+" "+<-order)
		time.Sleep(renderWait)
		synctest.Wait()
		for range 6 {
			require.Equal(t, "refused", <-order)
		}
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		require.Zero(t, s.taken)
		require.Empty(t, s.of)
		require.Empty(t, s.waiting)
	})
}

// TestSlotsGone: a client that has gone takes no slot.
func TestSlotsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		for range maxRenders {
			require.True(t, s.take(t.Context(), peer(1)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		require.False(t, s.take(ctx, peer(2)))
		require.Zero(t, time.Since(began))
		require.Empty(t, s.waiting)
	})
}

// TestSlotsRest: whoever asks all the time has a part of the processor.
func TestSlotsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		for use, want := range map[time.Duration]time.Duration{50 * time.Millisecond: 150 * time.Millisecond, time.Minute: maxRest, 0: 0} {
			for range maxRenders {
				require.True(t, s.take(t.Context(), peer(1)))
				s.rest(peer(1), use)
			}
			began := time.Now()
			require.True(t, s.take(t.Context(), peer(2)))
			require.Equal(t, want, time.Since(began))
			s.giveBack(peer(2))
			time.Sleep(time.Second)
		}
	})
}

// TestSlotsInTurn: a peer that has not been served comes before all further requests of those
// that have.
func TestSlotsInTurn(t *testing.T) {
	var s slots
	var waiting []*waiter
	for range 4 {
		for n := range 10 {
			waiting = append(waiting, s.enter(peer(n)))
		}
	}
	late := s.enter(peer(99))
	for n := range 10 - maxRenders {
		s.giveBack(peer(n))
	}
	served := 0
	for _, w := range waiting[:10] {
		select {
		case <-w.ready:
			served++
		default:
		}
	}
	require.Equal(t, 10, served, "each once")
	s.giveBack(peer(10 - maxRenders))
	select {
	case <-late.ready:
	default:
		require.Fail(t, "somebody was served twice before")
	}
}

// TestSlotsForget: no number of peers makes the agent remember more.
func TestSlotsForget(t *testing.T) {
	var s slots
	for n := range 5 * maxServed {
		p := netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.1/32", n/250, n%250))
		require.True(t, s.take(t.Context(), p))
		s.giveBack(p)
		require.LessOrEqual(t, len(s.served), maxServed+1)
	}
	require.Empty(t, s.of)
}
