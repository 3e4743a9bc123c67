package web

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
)

type connKey struct{}

// withConn is http.Server's ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection of a request, nil where it is not of a listener of Limit.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// owner returns the peer of a connection, that of no address for nil.
func (c *conn) owner() netip.Prefix {
	if c == nil {
		return netip.Prefix{}
	}
	return c.peer
}

// hold counts the bytes of an answer until release. Connections that send answers are closed
// if those are too many together, see Limit. hold waits until these have let go of their
// answers, which takes no client: a write on a closed connection fails at once.
func (c *conn) hold(bytes int) {
	if c == nil {
		return
	}
	for _, old := range c.of.hold(c, bytes) {
		old.closeFor(TooManyAnswers)
	}
	c.of.waitForRoom(c)
}

// release ends the count of hold.
func (c *conn) release() {
	if c == nil {
		return
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.held -= c.held
	c.held = 0
	c.of.released.Broadcast()
}

// hold returns the connections that have to go for the answer of one.
func (l *limited) hold(c *conn, bytes int) (old []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.held = bytes
	l.held += bytes
	for {
		oldest := l.oneTooManyLocked(c)
		if oldest == nil {
			return old
		}
		l.removeLocked(oldest)
		old = append(old, oldest)
	}
}

// oneTooManyLocked returns the connection that has to go for the answer of c, nil if none
// has: the oldest with an answer of the same peer, or where all hold too much, of the peer
// that holds the most.
func (l *limited) oneTooManyLocked(c *conn) *conn {
	var heaviest *conn
	all, most := c.held, 0
	for peer, list := range l.peers {
		var oldest *conn
		held := 0
		for _, other := range list {
			if other == c || other.held == 0 {
				continue
			}
			oldest = cmp.Or(oldest, other)
			held += other.held
		}
		if oldest == nil {
			continue
		}
		if peer == c.peer && held+c.held > l.bounds.HeldOfPeer {
			return oldest
		}
		all += held
		if held > most || held == most && oldest.n < heaviest.n {
			heaviest, most = oldest, held
		}
	}
	if all <= l.bounds.Held {
		return nil
	}
	return heaviest
}

// waitForRoom waits until closed connections have let go of their answers, unless c is
// closed itself.
func (l *limited) waitForRoom(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held > l.bounds.Held && !c.removed {
		l.released.Wait()
	}
}
