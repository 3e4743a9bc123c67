package web

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Bounds of a listener: of all its connections, and of those of one peer, an address or the
// network of an IPv6 one.
type Bounds struct {
	// Connections are open at once.
	Connections, ConnectionsOfPeer int
	// Held are the bytes of the answers that are sent at once.
	Held, HeldOfPeer int
	// Closed is called for each connection that is closed for room; nil for nobody. It must
	// not wait.
	Closed func(Reason)
}

// Reason is why a connection was closed for room.
type Reason string

const (
	// TooManyConnections were open.
	TooManyConnections Reason = "connections"
	// TooManyAnswers were being sent, in bytes.
	TooManyAnswers Reason = "answers"
)

// Limit returns a listener whose connections keep to bounds. A new connection or answer
// never waits for a client: the oldest connection of the same peer is closed for it, or where
// all together are too many, the oldest of the peer with the most. So whoever holds
// connections open, or reads slowly, holds up nobody.
func Limit(listener net.Listener, b Bounds) net.Listener {
	l := &limited{Listener: listener, bounds: b, peers: map[netip.Prefix][]*conn{}}
	l.released.L = &l.mu
	return l
}

type limited struct {
	net.Listener
	bounds Bounds

	mu    sync.Mutex // guards what follows
	peers map[netip.Prefix][]*conn
	open  int
	n     uint64 // of the newest
	held  int    // bytes, also of connections that are closed
	// released is signalled when held falls, and when a connection is removed.
	released sync.Cond
}

// conn is one that is open.
type conn struct {
	net.Conn
	of   *limited
	peer netip.Prefix
	n    uint64 // how many came before

	// Guarded by of.mu.
	held    int  // bytes of the answer that is sent
	removed bool // from of.peers
}

// Accept returns the next connection.
func (l *limited) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := accepted.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(kernelBuffer) // what the kernel has for it counts as the agent's memory
		_ = tcp.SetWriteBuffer(kernelBuffer)
	}
	c := &conn{Conn: accepted, of: l, peer: peerOf(accepted.RemoteAddr())}
	if old := l.add(c); old != nil {
		old.closeFor(TooManyConnections)
	}
	return c, nil
}

// Close ends a connection, and gives its room back.
func (c *conn) Close() error {
	c.of.remove(c)
	return c.Conn.Close()
}

// closeFor closes a connection for room.
func (c *conn) closeFor(why Reason) {
	_ = c.Close() // nobody waits for what it says
	if c.of.bounds.Closed != nil {
		c.of.bounds.Closed(why)
	}
}

// add takes a connection, and returns one that has to go.
func (l *limited) add(c *conn) (old *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	c.n = l.n
	l.peers[c.peer] = append(l.peers[c.peer], c)
	l.open++
	switch {
	case len(l.peers[c.peer]) > l.bounds.ConnectionsOfPeer:
		return l.peers[c.peer][0]
	case l.open > l.bounds.Connections:
		var heaviest []*conn
		for _, list := range l.peers {
			if len(list) > len(heaviest) || len(list) == len(heaviest) && list[0].n < heaviest[0].n {
				heaviest = list
			}
		}
		return heaviest[0]
	}
	return nil
}

func (l *limited) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(c)
}

func (l *limited) removeLocked(c *conn) {
	i := slices.Index(l.peers[c.peer], c)
	if i < 0 {
		return // it was closed before
	}
	c.removed = true
	l.released.Broadcast()
	l.open--
	if l.peers[c.peer] = slices.Delete(l.peers[c.peer], i, i+1); len(l.peers[c.peer]) == 0 {
		delete(l.peers, c.peer)
	}
}

// peerOf is the address of a peer; an IPv6 peer has as many as it likes in its /64.
func peerOf(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
