package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// DefaultAddress is containerd's socket.
const DefaultAddress = "/run/containerd/containerd.sock"

// answer limits one question to a running containerd.
const answer = 5 * time.Second

// Ask asks the version service of the containerd at a socket, given by the socket's real path.
func Ask(ctx context.Context, socket string) (string, error) {
	// These cases come first, because gRPC's own messages for them are unclear.
	if _, err := os.Stat(socket); err != nil {
		return "", err
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	version, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		return "", err
	}
	return version.GetVersion(), nil
}

// Reason returns an error of Ask in an operator's words.
func Reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such socket"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case status.Code(err) == codes.DeadlineExceeded:
		return fmt.Sprintf("no answer within %s", answer)
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// peer returns the process ID of the process that listens at a socket. It returns "" unless
// that process is root's and in a PID namespace that this process sees: the program of that
// process is run as root later.
func peer(ctx context.Context, socket string) string {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return ""
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if err := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || cred == nil || cred.Pid == 0 || cred.Uid != 0 {
		return ""
	}
	return strconv.Itoa(int(cred.Pid))
}
