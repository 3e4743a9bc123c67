//go:build linux

package shimtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// Shim is a container's connection to a running shim.
type Shim struct {
	// Address is the address of the shim's task API.
	Address string
	// Bundle is the bundle of the container to which the connection belongs.
	Bundle *Bundle
	// StartTook is how long the start command ran; 0 for a container that joined.
	StartTook time.Duration
	// StartState is the end of the start command, with the resources that the command used; nil
	// for a container that joined.
	StartState *os.ProcessState

	pid   int
	pidfd int // with a pidfd no signal can reach another process with the same pid

	mu     sync.Mutex
	client *ttrpc.Client // guarded by mu
}

// StartShim runs the shim binary's start command for a bundle and connects.
func (n *Node) StartShim(ctx context.Context, b *Bundle) (*Shim, error) {
	if err := b.openLog(); err != nil {
		return nil, err
	}
	cmd, err := n.command(ctx, b, "start")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w: %s", err, bytes.TrimSpace(out))
	}
	result, err := n.cfg.Protocol.answer(out)
	if err != nil {
		return nil, fmt.Errorf("start shim: answer %q: %w", out, err)
	}
	if err := os.WriteFile(b.File("shim-binary-path"), []byte(n.cfg.Shim), 0o600); err != nil {
		return nil, err
	}
	s, err := n.connect(ctx, b, result)
	if err == nil {
		s.StartTook, s.StartState = took, cmd.ProcessState
	}
	return s, err
}

// StartGrouped runs the start command for a further container of a sandbox. It fails unless the
// answer is the address of the first container's shim.
func (n *Node) StartGrouped(ctx context.Context, b *Bundle) (*Shim, error) {
	first := n.Shim()
	s, err := n.StartShim(ctx, b)
	if err != nil {
		return nil, err
	}
	if first == nil || s.Address != first.Address {
		return nil, fmt.Errorf("container %s got the address %s, want that of the sandbox", b.ID, s.Address)
	}
	return s, nil
}

// Join connects a further container to a shim without running the binary, as containerd does
// for a container that names its sandbox. The older protocols run the binary.
func (n *Node) Join(ctx context.Context, b *Bundle, sandbox *Shim) (*Shim, error) {
	if n.cfg.Protocol != Current {
		return n.StartGrouped(ctx, b)
	}
	if err := b.openLog(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.File("sandbox"), []byte(sandbox.Bundle.ID), 0o600); err != nil {
		return nil, err
	}
	return n.connect(ctx, b, &bootapi.BootstrapResult{Version: 3, Protocol: "ttrpc", Address: sandbox.Address})
}

// DeleteDead runs the shim binary's delete command, as containerd does when a shim has died. It
// returns the answer, and what the command wrote to stderr.
func (n *Node) DeleteDead(ctx context.Context, b *Bundle) (*task.DeleteResponse, string, error) {
	cmd, err := n.command(ctx, b, "delete")
	if err != nil {
		return nil, "", err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, stderr.String(), fmt.Errorf("delete dead shim: %w: %s", err, stderr.Bytes())
	}
	response := &task.DeleteResponse{}
	return response, stderr.String(), proto.Unmarshal(stdout.Bytes(), response)
}

// command returns the call of the shim binary as containerd makes it.
func (n *Node) command(ctx context.Context, b *Bundle, action string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"-namespace", n.cfg.Namespace, "-address", n.grpcAddress(), "-publish-binary", self, "-id", b.ID}
	if action == "delete" {
		args = append(args, "-bundle", b.Path)
	}
	if n.cfg.Debug {
		args = append(args, "-debug")
	}
	cmd := exec.CommandContext(ctx, n.cfg.Shim, append(args, action)...)
	cmd.Dir = b.Path
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "MAX_SHIM_VERSION=2",
		"TTRPC_ADDRESS="+n.Events.Address(), "GRPC_ADDRESS="+n.grpcAddress(), "NAMESPACE="+n.cfg.Namespace)
	cmd.Env = append(cmd.Env, n.cfg.Env...)
	if action != "start" {
		return cmd, nil
	}
	input, err := n.startInput(b, self)
	cmd.Stdin = bytes.NewReader(input)
	return cmd, err
}

// startInput returns the standard input of "start".
func (n *Node) startInput(b *Bundle, self string) ([]byte, error) {
	if n.cfg.Protocol.old() {
		return proto.Marshal(n.RuntimeOptions())
	}
	return n.bootstrapParams(b, self)
}

func (n *Node) bootstrapParams(b *Bundle, self string) ([]byte, error) {
	socketDir := n.socketDir()
	params := &bootapi.BootstrapParams{
		InstanceID:             b.ID,
		Namespace:              n.cfg.Namespace,
		LogLevel:               bootapi.LogLevel_LOG_LEVEL_INFO,
		ContainerdVersion:      version.Version,
		ContainerdGrpcAddress:  n.grpcAddress(),
		ContainerdTtrpcAddress: n.Events.Address(),
		ContainerdBinary:       self,
		SocketDir:              &socketDir,
	}
	if n.cfg.Protocol == Containerd23 {
		params.ContainerdVersion = "v2.3.7"
	}
	if n.cfg.Debug {
		params.LogLevel = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	if err := params.AddExtension(n.RuntimeOptions()); err != nil {
		return nil, err
	}
	return proto.Marshal(params)
}

func (n *Node) connect(ctx context.Context, b *Bundle, params *bootapi.BootstrapResult) (*Shim, error) {
	if err := n.cfg.Protocol.note(b, params); err != nil {
		return nil, err
	}
	s := &Shim{Address: params.Address, Bundle: b}
	if err := s.Reconnect(ctx); err != nil {
		return nil, err
	}
	answer, err := s.Task().Connect(ctx, &task.ConnectRequest{ID: b.ID})
	if err != nil {
		return nil, fmt.Errorf("connect to shim: %w", err)
	}
	s.pid = int(answer.ShimPid)
	if s.pidfd, err = unix.PidfdOpen(s.pid, 0); err != nil {
		return nil, fmt.Errorf("open pidfd of the shim: %w", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shims = append(n.shims, s)
	return s, nil
}

// Task returns the task API of the shim. Its calls carry the node's namespace.
func (s *Shim) Task() task.TTRPCTaskService {
	s.mu.Lock()
	defer s.mu.Unlock()
	return task.NewTTRPCTaskClient(s.client)
}

// Disconnect closes the connection, as when containerd dies.
func (s *Shim) Disconnect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	return s.client.Close()
}

// Reconnect makes a new connection, as a restarted containerd does. The caller then calls
// Connect.
func (s *Shim) Reconnect(ctx context.Context) error {
	if err := s.Disconnect(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(s.Address, "unix://"))
	if err != nil {
		return fmt.Errorf("connect to shim: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = ttrpc.NewClient(conn, ttrpc.WithUnaryClientInterceptor(s.Bundle.node.intercept()))
	return nil
}

// intercept returns an interceptor that adds the node's namespace to calls, and sends them to
// the task service of the node's protocol.
func (n *Node) intercept() ttrpc.UnaryClientInterceptor {
	namespace := n.cfg.Namespace
	return func(ctx context.Context, req *ttrpc.Request, resp *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
		req.Service = n.cfg.Protocol.service(req.Service)
		req.Metadata = append(req.Metadata, &ttrpc.KeyValue{Key: namespaces.TTRPCHeader, Value: namespace})
		return invoke(ctx, req, resp)
	}
}
