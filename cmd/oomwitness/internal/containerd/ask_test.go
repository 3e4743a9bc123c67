package containerd

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

// serve runs a server on a new socket until the test ends.
func serve(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	// t.TempDir is too long: a socket's path has at most 108 bytes.
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

func TestAsk(t *testing.T) {
	socket := serve(t, func(s *grpc.Server) { versionapi.RegisterVersionServer(s, versionServer{}) })
	version, err := Ask(t.Context(), socket)
	require.NoError(t, err)
	require.Equal(t, "v2.4.2", version)
}

func TestAskOfSomethingElse(t *testing.T) {
	_, err := Ask(t.Context(), serve(t, func(*grpc.Server) {}))
	require.Contains(t, Reason(err), "unknown service")

	_, err = Ask(t.Context(), "/nowhere/containerd.sock")
	require.Equal(t, "no such socket", Reason(err))

	// A socket without a listener, as a killed containerd leaves it.
	dir := t.TempDir()
	fd, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
	require.NoError(t, err)
	fd.SetUnlinkOnClose(false)
	require.NoError(t, fd.Close())
	_, err = Ask(t.Context(), filepath.Join(dir, "s"))
	require.Contains(t, Reason(err), "connection refused")
}
