package web

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Bounds of a listener: of all its connections, and of those of one peer, an address or the
// network of an IPv6 one. The pods of a node are in one such network: so connections are
// counted by address first.
type Bounds struct {
	// Connections are open at once, ConnectionsOfAddress of one address.
	Connections, ConnectionsOfAddress int
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
// never waits for a client: the oldest connection of the same address is closed for it.
// Where all together are too many, the oldest of the address with the most is closed, of the
// peer with the most. So whoever holds connections open, or reads slowly, holds up nobody.
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
	addr netip.Addr
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
	c := &conn{Conn: accepted, of: l}
	c.addr, c.peer = peerOf(accepted.RemoteAddr())
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
	same := 0
	for _, other := range l.peers[c.peer] {
		if other.addr != c.addr {
			continue
		}
		old = cmp.Or(old, other)
		same++
	}
	switch {
	case same > l.bounds.ConnectionsOfAddress:
		return old
	case l.open > l.bounds.Connections:
		var heaviest []*conn
		for _, list := range l.peers {
			if len(list) > len(heaviest) || len(list) == len(heaviest) && list[0].n < heaviest[0].n {
				heaviest = list
			}
		}
		return oldestOfHeaviest(heaviest)
	}
	return nil
}

// oldestOfHeaviest returns the oldest connection of the address with the most. list is not
// empty, and oldest first.
func oldestOfHeaviest(list []*conn) (oldest *conn) {
	counts, most := map[netip.Addr]int{}, 0
	for _, c := range list {
		counts[c.addr]++
		most = max(most, counts[c.addr])
	}
	i := slices.IndexFunc(list, func(c *conn) bool { return counts[c.addr] == most })
	return list[i]
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

// peerOf returns an address and its peer: an IPv6 host has as many addresses as it likes in
// its /64.
func peerOf(addr net.Addr) (netip.Addr, netip.Prefix) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	prefix, _ := ip.Prefix(bits) // the address of a connection has so many bits
	return ip, prefix
}
