package web

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Limit returns a listener with at most most connections open at once, and perPeer of
// one peer, an address or the network of an IPv6 one. It never has a new connection
// wait: that peer's oldest is closed for it, or where all together are too many, the
// oldest of the peer with the most. So whoever holds connections open holds up nobody.
func Limit(listener net.Listener, most, perPeer int) net.Listener {
	return &limited{Listener: listener, most: most, perPeer: perPeer, peers: map[netip.Prefix][]*conn{}}
}

type limited struct {
	net.Listener
	most, perPeer int

	mu    sync.Mutex // guards what follows
	peers map[netip.Prefix][]*conn
	open  int
	n     uint64 // of the newest
}

// conn is one that is open.
type conn struct {
	net.Conn
	of   *limited
	peer netip.Prefix
	n    uint64 // how many came before
}

// Accept returns the next connection.
func (l *limited) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, of: l, peer: peerOf(accepted.RemoteAddr())}
	if old := l.add(c); old != nil {
		_ = old.Close() // nobody waits for what it says
	}
	return c, nil
}

// Close ends a connection, and gives its room back.
func (c *conn) Close() error {
	c.of.remove(c)
	return c.Conn.Close()
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
	case len(l.peers[c.peer]) > l.perPeer:
		return l.peers[c.peer][0]
	case l.open > l.most:
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
	i := slices.Index(l.peers[c.peer], c)
	if i < 0 {
		return // it was closed before
	}
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
