//go:build linux

package shim

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A dead shim's socket goes, one that is answered on stays, and so does all that
// is not a socket.
func TestOnlyADeadSocketIsRemoved(t *testing.T) {
	bundle := t.TempDir()
	path := filepath.Join(t.TempDir(), "s")
	note := []byte(`{"version":3,"address":"unix://` + path + `","protocol":"ttrpc"}`)
	removeSocket(bundle) // no note
	require.NoError(t, os.WriteFile(filepath.Join(bundle, bootstrapFile), note, 0o600))
	removeSocket(bundle) // no socket

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	removeSocket(bundle)
	require.NoError(t, os.Remove(path), "a file")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	removeSocket(bundle)
	require.FileExists(t, path)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	removeSocket(bundle)
	require.NoFileExists(t, path)
}

func FuzzParseSocket(f *testing.F) {
	f.Add([]byte(`{"version":3,"address":"unix:///run/containerd/s/1f","protocol":"ttrpc"}`))
	f.Add([]byte(`{"address":"unix://../s"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path, err := parseSocket(data)
		if err == nil && (path == "" || path[0] != '/' || filepath.Clean(path) != path) {
			t.Fatalf("%q from %q", path, data)
		}
	})
}

// containerd's own note stays; where there is none, it names this program.
func TestTheProgramIsNotedOnce(t *testing.T) {
	bundle := t.TempDir()
	require.NoError(t, noteBinary(bundle))
	self, err := os.Executable()
	require.NoError(t, err)
	note := func() string {
		data, err := os.ReadFile(filepath.Join(bundle, binaryFile))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, self, note())
	require.NoError(t, os.WriteFile(filepath.Join(bundle, binaryFile), []byte("/containerd's"), 0o600))
	require.NoError(t, noteBinary(bundle))
	require.Equal(t, "/containerd's", note())
	require.Error(t, noteBinary(filepath.Join(bundle, "none")))
}
