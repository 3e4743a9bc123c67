//go:build linux

package delivery

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReachable: the address is the path of a socket, as in containerd's TTRPC_ADDRESS, and
// not an abstract one.
func TestReachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	require.False(t, Reachable(t.Context(), path), "no socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.True(t, Reachable(t.Context(), path))
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	require.False(t, Reachable(t.Context(), path), "nobody listens")
}
