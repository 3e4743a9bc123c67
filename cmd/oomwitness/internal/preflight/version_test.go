package preflight

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

type versionServer struct {
	versionapi.UnimplementedVersionServer
}

func (versionServer) Version(context.Context, *emptypb.Empty) (*versionapi.VersionResponse, error) {
	return &versionapi.VersionResponse{Version: "v2.4.2", Revision: "x"}, nil
}

// serve answers on a new socket until the test ends.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	// Not t.TempDir: a socket's path is limited to 108 bytes.
	dir, err := os.MkdirTemp("", "oomw")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "containerd.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := grpc.NewServer()
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-done)
	})
	return socket
}

func TestAskVersion(t *testing.T) {
	socket := serve(t, func(s *grpc.Server) { versionapi.RegisterVersionServer(s, versionServer{}) })
	version, err := askVersion(t.Context(), socket)
	require.NoError(t, err)
	require.Equal(t, "v2.4.2", version)
}

func TestAskVersionOfSomethingElse(t *testing.T) {
	_, err := askVersion(t.Context(), serve(t, func(*grpc.Server) {}))
	require.Contains(t, reason(err), "unknown service")

	_, err = askVersion(t.Context(), "/nowhere/containerd.sock")
	require.Equal(t, "no such socket", reason(err))

	// A socket that nobody listens on, as a killed containerd leaves it.
	dir := t.TempDir()
	fd, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	require.NoError(t, err)
	fd.SetUnlinkOnClose(false)
	require.NoError(t, fd.Close())
	_, err = askVersion(t.Context(), filepath.Join(dir, "s"))
	require.Contains(t, reason(err), "connection refused")
}

func TestRelease(t *testing.T) {
	for text, want := range map[string][2]int{
		"6.12.9-cloud-amd64": {6, 12}, "v2.4.2": {2, 4}, "5.10-rc1": {5, 10}, "2.1.0-beta.0\n": {2, 1},
	} {
		major, minor, known := release(text)
		require.True(t, known, text)
		require.Equal(t, want, [2]int{major, minor}, text)
	}
	for _, text := range []string{"", "6", "x.y", ".", "v.1"} {
		_, _, known := release(text)
		require.False(t, known, text)
	}
	require.True(t, atLeast(3, 0, 2, 1))
	require.False(t, atLeast(2, 0, 2, 1))
}

func TestRunProgram(t *testing.T) {
	out, err := runProgram(t.Context(), "/bin/sh", "-c", "echo hello")
	require.NoError(t, err)
	require.Equal(t, "hello\n", out)
	_, err = runProgram(t.Context(), "/bin/sh", "-c", "echo why >&2; exit 3")
	require.EqualError(t, err, "exit status 3: why")
}
