//go:build linux

// Package faults proves the shim while the node fails around it: containers end
// in every way by the road of CRI, and containerd, the bundle, the clock or the
// ledger goes away in the same moment. It runs in the node's guest.
package faults

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/mix"
)

const (
	image         = "oomwitness.test/workload:1"
	workloadFile  = "/opt/oomwitness/rootfs/workload"
	busyboxFile   = "/opt/workload-rootfs/bin/busybox"
	command       = "/opt/oomwitness/bin/oomwitness"
	shimFile      = "/opt/oomwitness/bin/containerd-shim-oomwitness-v2"
	binDir        = "/usr/local/bin"
	figures       = "/var/log/oomwitness/figures"
	containerdLog = "/var/log/containerd.log"
	tasksDir      = "/run/containerd/io.containerd.runtime.v2.task/" + cri.Namespace

	// patience bounds every wait: emulated machines are slow.
	patience = 3 * time.Minute
	// poll is how often another process is asked, where it can't tell.
	poll = 50 * time.Millisecond
)

// settings are the node's, for both shims: the image that pods are held by, and
// runc's driver, which install takes over.
const settings = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + image + `'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = %t
`

// node is the guest, set up for pods under one shim.
type node struct {
	cri    *cri.Client
	events *watch
	driver mix.Driver
	shim   string
	seed   uint64
	runs   int // of each kind, in each case
	full   bool
	// lead is the time before a fault and after its end in which containers end
	// too.
	lead time.Duration

	mu   sync.Mutex // guards what follows
	draw *rand.Rand
}

// prepared makes the guest ready for pods, once in the life of the guest.
var prepared = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	workload, err := os.ReadFile(workloadFile)
	if err != nil {
		return err
	}
	shell, err := os.ReadFile(busyboxFile)
	if err != nil {
		return err
	}
	if err := cri.Import(ctx, cri.Socket, cri.Image{
		Ref: image, Programs: map[string][]byte{"workload": workload, "bin/sh": shell},
		Folders: []string{"proc", "sys", "dev", "tmp", "bin", "ctl", "etc"}, Entrypoint: []string{"/workload", "sleep", "1000000"},
	}); err != nil {
		return err
	}
	text := fmt.Sprintf(settings, mix.DriverHere() == mix.Systemd)
	if err := os.MkdirAll("/etc/containerd/conf.d", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/containerd/conf.d/faults.toml", []byte(text), 0o644); err != nil {
		return err
	}
	if err := run(ctx, command, "install", "--bin-dir", binDir, "--shim", shimFile, "--systemd-unit", "false"); err != nil {
		return err
	}
	return run(ctx, "node-containerd", "restart")
})

// setUp connects to the guest.
func setUp(t *testing.T) *node {
	t.Helper()
	if _, err := os.Stat(cri.Socket); err != nil {
		t.Skip("needs the node's guest, with containerd and cgroup v2: make faults")
	}
	require.NoError(t, prepared())
	n := &node{driver: mix.DriverHere(), shim: "oomwitness", runs: counts.FromEnv(t, "FAULT_RUNS", 1)}
	n.full, n.lead = n.runs >= 10, time.Second
	if n.full {
		n.lead = 3 * time.Second
	}
	if name := os.Getenv("FAULT_SHIM"); name != "" {
		require.Contains(t, []string{"oomwitness", "stock"}, name, "environment variable FAULT_SHIM")
		n.shim = name
	}
	n.seed = uint64(time.Now().UnixNano()) % 1e9
	if text := os.Getenv("FAULT_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "environment variable FAULT_SEED")
		n.seed = seed
	}
	n.draw = rand.New(rand.NewPCG(n.seed, 0))
	t.Logf("seed %d: FAULT_SEED=%d draws the same moments", n.seed, n.seed)
	var err error
	n.cri, err = cri.Dial(cri.Socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.cri.Close()) })
	require.NoError(t, n.ready(t.Context()))
	n.events = newWatch(t)
	return n
}

// handler is the runtime handler of the shim under test.
func (n *node) handler() string {
	if n.shim == "stock" {
		return "runc"
	}
	return n.shim
}

// ready waits until CRI answers from what it has recovered.
func (n *node) ready(ctx context.Context) error {
	return until(ctx, "CRI to answer", func() error {
		if _, err := n.cri.Ended(ctx); err != nil {
			return err
		}
		known, err := n.cri.HasImage(ctx, image)
		if err == nil && !known {
			err = fmt.Errorf("image %s is not known", image)
		}
		return err
	})
}

// serial gives each pod a name of its own: the stock shim may leave some behind.
var serial atomic.Int64

// within draws a time between two others.
func (n *node) within(from, to time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return from + time.Duration(n.draw.Int64N(int64(to-from)))
}

// until asks again until there is no error, for as long as patience lasts.
func until(ctx context.Context, what string, ask func() error) error {
	late := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return nil
		}
		if time.Now().After(late) {
			return fmt.Errorf("wait %s for %s: %w", patience, what, err)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		}
	}
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, bytes.TrimSpace(out))
	}
	return nil
}

// keep adds a line to the figures that the host prints at the end.
func keep(t *testing.T, line string) {
	t.Helper()
	t.Log(line)
	require.NoError(t, os.MkdirAll(filepath.Dir(figures), 0o755))
	f, err := os.OpenFile(figures, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = f.WriteString(line + "\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
