package web_test

import (
	"net"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/web"
)

// addressed is a listener whose connections come from addresses.
type addressed chan net.Conn

func (l addressed) Accept() (net.Conn, error) { return <-l, nil }
func (addressed) Close() error                { return nil }
func (addressed) Addr() net.Addr              { return &net.TCPAddr{} }

// from is a connection that notes its end.
type from struct {
	net.Conn
	address string
	open    *[]string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1} }

func (f from) Close() error {
	i := slices.Index(*f.open, f.address)
	*f.open = slices.Delete(*f.open, i, i+1)
	return nil
}

// TestPeersOfOneNetwork: the pods of a node are in one IPv6 network of 64 bits. A pod that opens
// many connections closes none of another pod's, and a host with many addresses none of another
// network's.
func TestPeersOfOneNetwork(t *testing.T) {
	for name, c := range map[string]struct{ first, then, want []string }{
		"one pod beside another": {
			[]string{"2001:db8::1"}, slices.Repeat([]string{"2001:db8::2"}, 10),
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8::2", "2001:db8::2"},
		},
		"two pods beside another": {
			[]string{"2001:db8::1"}, slices.Repeat([]string{"2001:db8::2", "2001:db8::3"}, 10),
			[]string{"2001:db8::1", "2001:db8::2", "2001:db8::2", "2001:db8::3", "2001:db8::3"},
		},
		"a host beside another": {
			[]string{"2001:db8:1::1", "2001:db8:1::1"}, []string{"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5"},
			[]string{"2001:db8:1::1", "2001:db8:1::1", "2001:db8::3", "2001:db8::4", "2001:db8::5"},
		},
	} {
		var open []string
		inner := make(addressed, 1)
		l := web.Limit(inner, web.Bounds{Connections: 5, ConnectionsOfAddress: 3})
		for _, address := range slices.Concat(c.first, c.then) {
			open = append(open, address)
			inner <- from{address: address, open: &open}
			_, err := l.Accept()
			require.NoError(t, err)
		}
		slices.Sort(open)
		slices.Sort(c.want)
		require.Equal(t, c.want, open, name)
	}
}
