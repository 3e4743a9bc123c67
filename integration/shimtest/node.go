//go:build linux

// Package shimtest runs a real shim binary as containerd does, against a real ttrpc events
// endpoint, without containerd.
//
// A Node stands for containerd: it keeps bundles, starts shims with the bootstrap protocol,
// calls their task API and accepts their events. A test can make the endpoint hold, refuse,
// delay or lose events, or be absent for a while, for one topic or container or for all.
package shimtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/mount"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/workload"
)

// Patience is how long the harness waits for a step that a working shim takes at once.
const Patience = 30 * time.Second

// socketDirLimit leaves room for a slash and 64 hexadecimal digits in the 106
// bytes that the shim allows a socket's path.
const socketDirLimit = 106 - 65

// Config describes a Node. Every field has a default.
type Config struct {
	// Shim is the path of the shim binary, by default the path that Ours returns.
	Shim string
	// Runc and Workload are paths, by default those that the functions Runc and WorkloadBinary
	// return.
	Runc, Workload string
	// Root is the folder in which the node makes its directory. Keep it short: the path of the
	// shim's socket begins with it. Default: the directory for temporary files.
	Root string
	// Namespace is the containerd namespace, "shimtest" by default.
	Namespace string
	// SystemdCgroup selects the systemd cgroup driver.
	SystemdCgroup bool
	// Debug makes the shim log at debug level.
	Debug bool
	// Protocol is how the node starts shims and calls them. The default for Ours is the
	// protocol in the environment variable SHIMTEST_PROTOCOL, or Current.
	Protocol Protocol
	// Env is added to the shim's environment.
	Env []string
	// Options changes the runc options of every container.
	Options func(*options.Options)
	// RuntimeOptions, when set, is sent instead of runc's options.
	RuntimeOptions *anypb.Any
}

// Node stands for containerd.
type Node struct {
	// Events is the endpoint to which shims publish.
	Events *Events
	// Dir is the folder of all of the node's files.
	Dir string

	t      testing.TB
	cfg    Config
	rootfs string

	mu      sync.Mutex
	shims   []*Shim   // guarded by mu
	bundles []*Bundle // guarded by mu
}

// Start makes a Node. At the end of the test the node is removed with everything that ran on
// it. Without root, Start skips the test.
func Start(t testing.TB, cfg Config) *Node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: runs containers with runc")
	}
	if cfg.Shim != "" && cfg.Protocol == "" {
		cfg.Protocol = Current
	}
	if cfg.Shim == "" {
		cfg.Shim = Ours(t)
	}
	if cfg.Runc == "" {
		cfg.Runc = Runc(t)
	}
	if cfg.Workload == "" {
		cfg.Workload = WorkloadBinary(t)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "shimtest"
	}
	if cfg.Protocol == "" {
		cfg.Protocol = ChosenProtocol(t)
	}
	n, err := newNode(t, cfg)
	if err != nil {
		t.Fatalf("start node: %v", err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Errorf("clean up node: %v", err)
		}
		if t.Failed() {
			t.Logf("shim log:\n%s", n.Logs())
		}
	})
	return n
}

func newNode(t testing.TB, cfg Config) (*Node, error) {
	dir, err := os.MkdirTemp(cfg.Root, "ow-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	n := &Node{Dir: dir, t: t, cfg: cfg, rootfs: filepath.Join(dir, "rootfs")}
	if len(n.socketDir()) > socketDirLimit {
		return nil, fmt.Errorf("%s is too long for the shim's sockets (%d bytes are allowed): set Config.Root", n.socketDir(), socketDirLimit)
	}
	if err := workload.Rootfs(n.rootfs, cfg.Workload); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(n.socketDir(), 0o700); err != nil {
		return nil, err
	}
	n.Events = newEvents(filepath.Join(dir, "events.sock"))
	return n, n.Events.Resume()
}

// Name returns a name that is unique to the node; its cgroups and systemd scopes have it in
// their names.
func (n *Node) Name() string { return filepath.Base(n.Dir) }

// Namespace returns the containerd namespace of the node's containers.
func (n *Node) Namespace() string { return n.cfg.Namespace }

// Rootfs returns the path of the read-only root filesystem that all containers share.
func (n *Node) Rootfs() string { return n.rootfs }

// RuncRoot returns the directory of runc's own state.
func (n *Node) RuncRoot() string { return filepath.Join(n.Dir, "runc") }

func (n *Node) socketDir() string { return filepath.Join(n.Dir, "s") }

// grpcAddress returns a path on which nobody listens. The name of a shim's socket depends on
// it.
func (n *Node) grpcAddress() string { return filepath.Join(n.Dir, "containerd.sock") }

// CgroupsPath returns the OCI cgroupsPath of a container with the given ID. All of a node's
// containers share one parent cgroup.
func (n *Node) CgroupsPath(id string) string {
	if n.cfg.SystemdCgroup {
		return "oomwitness-test.slice:" + n.Name() + ":" + id
	}
	return filepath.Join("/oomwitness-test", n.Name(), id)
}

// SetShim makes the node run another shim binary from now on.
func (n *Node) SetShim(path string) { n.cfg.Shim = path }

// SetRuntimeOptions makes the node send other options from now on.
func (n *Node) SetRuntimeOptions(options *anypb.Any) { n.cfg.RuntimeOptions = options }

// RuntimeOptions returns the options that go with every Create request.
func (n *Node) RuntimeOptions() *anypb.Any {
	if n.cfg.RuntimeOptions != nil {
		return n.cfg.RuntimeOptions
	}
	return n.runcOptions(n.cfg.Options)
}

// RuncOptions returns RuntimeOptions with the given change to runc's options.
func (n *Node) RuncOptions(change func(*options.Options)) *anypb.Any {
	return n.runcOptions(change)
}

func (n *Node) runcOptions(change func(*options.Options)) *anypb.Any {
	opts := &options.Options{
		BinaryName:    n.cfg.Runc,
		Root:          n.RuncRoot(),
		SystemdCgroup: n.cfg.SystemdCgroup,
	}
	if change != nil {
		change(opts)
	}
	return marshalAny(opts)
}

// Task returns the task API of the first shim that was started.
func (n *Node) Task() task.TTRPCTaskService { return n.Shim().Task() }

// Shim returns the first shim that was started, or nil.
func (n *Node) Shim() *Shim {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.shims) == 0 {
		return nil
	}
	return n.shims[0]
}

// Logs returns what all shims have logged so far.
func (n *Node) Logs() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var logs strings.Builder
	for _, b := range n.bundles {
		logs.WriteString(b.log.String())
	}
	return logs.String()
}

func (n *Node) close() error {
	n.mu.Lock()
	shims, bundles := n.shims, n.bundles
	n.mu.Unlock()

	var errs []error
	for _, s := range shims {
		errs = append(errs, s.stop())
	}
	n.Events.close()
	errs = append(errs, n.deleteContainers())
	for _, b := range bundles {
		b.closeLog()
		errs = append(errs, mount.UnmountRecursive(filepath.Join(b.Path, "rootfs"), 0))
	}
	errs = append(errs, n.removeCgroups(), os.RemoveAll(n.Dir))
	return errors.Join(errs...)
}
