//go:build linux

package agentstorm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const (
	tenants = 50
	// standing are cgroups that a user has made and keeps, above what one owner has room for.
	standing = 3000
	// The floods of all tenants together: how many workers, and how often each works.
	killers, killsEvery       = 4, 80 * time.Millisecond
	makers, makesEvery        = 2, 10 * time.Millisecond
	replacers, replacesEvery  = 2, 400 * time.Millisecond
	callers, callsEvery       = 2, 10 * time.Millisecond
	heldOpen                  = 256 // connections of a caller
	forgedIn                  = 10  // tenants that name cgroups after others' pods
	replacedPods              = 10  // that stand at one moment
	metricsPort, healthListen = "127.0.0.1:18080", "127.0.0.1:18089"
)

// floods are what the tenants do.
type floods struct {
	pods *podSet
	// tenants are pods, each of a namespace of its own. forged are cgroups that are named
	// after others' pods: below a tenant's container, or in a user's own cgroup.
	tenants []testPod
	of      []*podSet
	forged  []string
	// churned are containers without a limit, one of each tenant. In one with podLimit the
	// kernel refuses a cgroup (ENOMEM) where it is slow to let go of those that were removed:
	// 412 of them are 4 MiB (Linux 6.18, two CPUs).
	churned []string
	alive   chan churned
	// What was done.
	kills, made, replaced, calls atomic.Int64
}

// churned is a pod that a tenant replaces.
type churned struct {
	testPod
	of *podSet
}

// newFloods makes the tenants' pods, and cgroups with the names of bystanders' pods.
func newFloods(t *testing.T, pods *podSet, bystanders []testPod) *floods {
	t.Helper()
	f := &floods{pods: pods, alive: make(chan churned, replacedPods+replacers)}
	for i := range tenants {
		of := pods.in(t, fmt.Sprintf("tenant-%02d", i))
		p, err := of.add(t.Context(), "app")
		require.NoError(t, err)
		sidecar := filepath.Join(p.dir, fmt.Sprintf("%064x", i))
		require.NoError(t, oomtest.NewCgroup(pods.hierarchy, sidecar, 0))
		f.tenants, f.of, f.churned = append(f.tenants, p), append(f.of, of), append(f.churned, sidecar)
	}
	user := filepath.Join(filepath.Dir(pods.kubepods), "user")
	require.NoError(t, oomtest.NewCgroup(pods.hierarchy, user, 0))
	t.Cleanup(func() { removeTree(t, user) })
	for i := range standing {
		require.NoError(t, os.Mkdir(filepath.Join(user, fmt.Sprintf("%064x", i)), 0o755))
	}
	for i := range forgedIn {
		b := bystanders[i%len(bystanders)]
		f.forge(t, filepath.Join(f.tenants[i].container, "kubepods"), b)
		f.forge(t, filepath.Join(user, fmt.Sprint(i), "kubepods"), b)
	}
	for i := range replacedPods {
		require.NoError(t, f.addOne(t.Context(), i))
	}
	return f
}

// forge makes a cgroup below dir that is named after another's pod and container.
func (f *floods) forge(t *testing.T, dir string, of testPod) {
	t.Helper()
	for _, above := range []string{filepath.Dir(dir), dir, filepath.Join(dir, filepath.Base(of.dir))} {
		if err := oomtest.NewCgroup(f.pods.hierarchy, above, 0); !errors.Is(err, os.ErrExist) {
			require.NoError(t, err)
		}
	}
	container := filepath.Join(dir, filepath.Base(of.dir), filepath.Base(of.container))
	require.NoError(t, oomtest.NewCgroup(f.pods.hierarchy, container, podLimit))
	f.forged = append(f.forged, container)
}

// run floods until ctx ends.
func (f *floods) run(ctx context.Context, t *testing.T) {
	var work sync.WaitGroup
	start := func(workers int, often time.Duration, do func(worker, n int)) {
		for w := range workers {
			n := 0
			work.Go(func() { every(ctx, often, func() { n++; do(w, n) }) })
		}
	}
	start(killers, killsEvery, func(w, n int) { f.kill(t, n*killers+w) })
	start(makers, makesEvery, func(w, n int) { f.churn(t, n*makers+w) })
	start(replacers, replacesEvery, func(w, n int) {
		if err := f.replaceOne(t.Context(), n*replacers+w); err != nil {
			t.Errorf("replace a pod: %v", err)
		}
	})
	for w := range callers {
		work.Go(func() { f.call(ctx, w) })
	}
	work.Wait()
}

// kill has the OOM killer end a process of a tenant: each fifth in a cgroup that is named
// after another's pod.
func (f *floods) kill(t *testing.T, n int) {
	dir := f.tenants[n%tenants].container
	if n%5 == 0 {
		dir = f.forged[n/5%len(f.forged)]
	}
	if oomtest.KillSmallIn(t, dir) != 0 {
		f.kills.Add(1)
	}
}

// churn makes cgroups and removes them: half of them are one tenant's.
func (f *floods) churn(t *testing.T, n int) {
	of := 0
	if n%2 == 0 {
		of = n / 2 % tenants
	}
	top := filepath.Join(f.churned[of], fmt.Sprint("churn-", n))
	dirs := []string{top, filepath.Join(top, "kubepods"), filepath.Join(top, "kubepods", filepath.Base(f.tenants[of].dir))}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
			return
		}
		f.made.Add(1)
	}
	for i := range dirs {
		if err := syscall.Rmdir(dirs[len(dirs)-1-i]); err != nil {
			t.Error(err)
		}
	}
}

func (f *floods) addOne(ctx context.Context, n int) error {
	of := f.of[n%tenants]
	p, err := of.add(ctx, fmt.Sprintf("churn-%06d", n))
	if err == nil {
		f.alive <- churned{p, of}
	}
	return err
}

// replaceOne removes the oldest pod of those that are replaced.
func (f *floods) replaceOne(ctx context.Context, n int) error {
	p := <-f.alive
	if err := p.of.remove(ctx, p.testPod); err != nil {
		return err
	}
	f.replaced.Add(1)
	return f.addOne(ctx, n+replacedPods)
}

// call opens connections to the agent from many addresses, and leaves them open, some with
// half a request, until others have taken their room.
func (f *floods) call(ctx context.Context, worker int) {
	open := make([]net.Conn, heldOpen)
	n := 0
	every(ctx, callsEvery, func() {
		n++
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+worker), byte(1+n%tenants))}, Timeout: 5 * time.Second}
		c, err := d.DialContext(ctx, "tcp", []string{metricsPort, healthListen}[n/2%2])
		if err != nil {
			return // not a matter of this caller: the probes have to come through
		}
		f.calls.Add(1)
		if n%2 == 0 {
			_, _ = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: ")) // the agent may have closed it
		}
		if old := open[n%heldOpen]; old != nil {
			_ = old.Close()
		}
		open[n%heldOpen] = c
	})
	for _, c := range open {
		if c != nil {
			_ = c.Close()
		}
	}
}
