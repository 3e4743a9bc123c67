//go:build linux

package deadshim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	ptypes "github.com/containerd/containerd/v2/pkg/protobuf/types"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

const (
	// answerTime is how long a running shim may need for an answer.
	answerTime = time.Second
	// shutdownTime is how long a shim that has just been started may need for an answer.
	shutdownTime = 5 * time.Second
)

// shimAnswers reports whether the bundle's shim is there. That its socket accepts a
// connection proves nothing: what the shim was about to run when it was killed
// holds the socket too, until it has become another program.
func shimAnswers(dir string) bool {
	path, err := bootstrap.Socket(dir)
	if err != nil {
		return false
	}
	// No shim has this service, and each returns NotImplemented.
	err = ask(path, "oomwitness.Ping", "Ping", answerTime)
	return err == nil || status.Code(err) == codes.Unimplemented
}

// ShutDown ends the shim at an address, unless the shim has containers. An empty message is a
// ShutdownRequest: a shim does not go by the fields.
func ShutDown(address string) error {
	err := ask(strings.TrimPrefix(address, "unix://"), "containerd.task.v3.Task", "Shutdown", shutdownTime)
	if err == nil || errors.Is(err, ttrpc.ErrClosed) { // a shim can end before it answers
		return nil
	}
	return fmt.Errorf("shut down the shim at %s: %w", address, err)
}

// ask calls a method with an empty message at the path of a shim's socket.
func ask(path, service, method string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer func() { _ = client.Close() }()
	return client.Call(ctx, service, method, &ptypes.Empty{}, &ptypes.Empty{})
}

// removeSocket removes a dead shim's socket, which upstream leaves where it was
// until the next shim of that name, and a pod's name does not come again. One
// that accepts connections stays: a pod's containers share it.
func removeSocket(dir string) {
	path, err := bootstrap.Socket(dir)
	if err != nil {
		return
	}
	for late := time.Now().Add(heldTime); upstream.CanConnect("unix://" + path); time.Sleep(heldPoll) {
		if time.Now().After(late) {
			return
		}
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		_ = os.Remove(path)
	}
}

// heldTime is how long a dead shim's child may hold the socket, and heldPoll how
// often the socket is tried.
const (
	heldTime = 500 * time.Millisecond
	heldPoll = 20 * time.Millisecond
)

// endInit kills an init that has outlived its shim. runc does it too, and tries again
// where this gives an error, but it comes last:
// containerd returns the removal of all that a shim has left 5 s
// (io.containerd.timeout.shim.cleanup), and what it breaks off there would run on
// after CRI has called it ended.
func endInit(rec bundle.Record) error {
	if !rec.OfThisBoot() || rec.StartTicks == 0 {
		return nil
	}
	pidfd, err := unix.PidfdOpen(rec.Pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // gone; a number that none can have
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", rec.Pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	if !bpf.Running(rec.Pid, rec.StartTicks) { // else it is this process that pidfd is of
		return nil
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", rec.Pid, err)
	}
	return nil
}
