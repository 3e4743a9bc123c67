//go:build linux

// Package faults tests the shim on a node that fails: containers end in every way, as CRI sees
// them, and at the same moment containerd, the bundle, the clock or the ledger fails. It runs
// in the node's guest.
package faults

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// settings are the node's settings for both shims: the image of the container that holds a pod,
// and runc's cgroup driver, which install takes over. The log has no debug lines, since they
// cost the emulated CPUs too much time.
const settings = `version = 3
[debug]
  level = 'info'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = '` + faultkit.Image + `'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = %t
`

// node is the guest, set up for pods under one shim.
type node struct {
	t      *testing.T
	cri    *cri.Client
	events *watch
	driver mix.Driver
	shim   string
	where  string // version, cgroup and driver, for the figures
	*faultkit.Plan
}

// prepared makes the guest ready for pods, once per guest.
var prepared = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), faultkit.Patience)
	defer cancel()
	if os.Getenv(faultkit.VersionEnv) != "" {
		if err := faultkit.UseContainerd(ctx, faultkit.Version()); err != nil {
			return err
		}
		return faultkit.ImportImage(ctx)
	}
	text := fmt.Sprintf(settings, mix.DriverHere() == mix.Systemd)
	if err := os.MkdirAll("/etc/containerd/conf.d", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/containerd/conf.d/faults.toml", []byte(text), 0o644); err != nil {
		return err
	}
	return faultkit.Install(ctx)
})

// setUp connects to the guest.
func setUp(t *testing.T) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short part: make faults")
	}
	return setUpShort(t)
}

// setUpShort is setUp for tests of the short part too, which runs each fault once.
func setUpShort(t *testing.T) *node {
	t.Helper()
	if _, err := os.Stat(cri.Socket); err != nil {
		t.Skip("needs the node's guest, with containerd and cgroup v2: make faults")
	}
	require.NoError(t, prepared())
	n := &node{t: t, driver: mix.DriverHere(), shim: "oomwitness", Plan: faultkit.NewPlan(t, "FAULT")}
	if name := os.Getenv("FAULT_SHIM"); name != "" {
		require.Contains(t, []string{"oomwitness", "stock"}, name, "environment variable FAULT_SHIM")
		n.shim = name
	}
	var err error
	n.cri, err = cri.Dial(cri.Socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.cri.Close()) })
	require.NoError(t, n.ready(t.Context()))
	n.where, err = faultkit.Where(t.Context())
	require.NoError(t, err)
	n.events = newWatch(t)
	return n
}

// handler returns the runtime handler of the shim under test.
func (n *node) handler() string {
	if n.shim == "stock" {
		return "runc"
	}
	return n.shim
}

// ready waits until CRI has recovered and answers.
func (n *node) ready(ctx context.Context) error { return faultkit.Ready(ctx, n.cri) }

// serial numbers the pods: each has a name of its own, since the stock shim may leave pods
// behind.
var serial atomic.Int64
