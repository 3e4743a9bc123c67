//go:build linux

// Package scenario proves the shim in the node's guest: a real kernel with
// cgroup v2, a real containerd and runc, and a client that waits and deletes at
// once.
package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/mix"
)

const (
	guestRootfs = "/opt/oomwitness/rootfs"
	socket      = "/run/containerd/containerd.sock"
)

func runner(t *testing.T) *mix.Runner {
	t.Helper()
	if _, err := os.Stat(socket); err != nil {
		t.Skip("needs the node's guest, with containerd and cgroup v2: make test-guest")
	}
	slowNode(t)
	r, err := mix.NewRunner(t.Context(), mix.DriverHere(), guestRootfs)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func check(t *testing.T, c mix.Case, o mix.Outcome) {
	t.Helper()
	require.Empty(t, c.Faults(o), "%s: %+v verdict %+v", o.ID, o, o.Verdict)
}

// TestScenario runs each case once by the API path that CRI takes.
func TestScenario(t *testing.T) {
	r := runner(t)
	for _, c := range mix.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
			require.NoError(t, err)
			checkWhole(t, c, o)
		})
	}
	require.Zero(t, r.Strangers(), "TaskOOM for a container that nobody made")
}

// TestAPIPaths sees the exit by the other API paths.
func TestAPIPaths(t *testing.T) {
	r := runner(t)
	for name, path := range map[string]mix.APIPath{"state": mix.ByState, "delete": mix.ByDelete} {
		for _, which := range []string{"init-oom", "child-oom-exit-1", "exit-3"} {
			t.Run(name+"/"+which, func(t *testing.T) {
				c, err := mix.Find(which)
				require.NoError(t, err)
				o, err := r.Run(t.Context(), mix.Ours, c, path)
				require.NoError(t, err)
				check(t, c, o)
			})
		}
	}
}

// TestStartFailure ends like stock: no OOM, no container left.
func TestStartFailure(t *testing.T) {
	r := runner(t)
	c := mix.Case{Name: "no-such-program", Container: mix.Container{Args: []string{"x"}}}
	c.Binary = "/no-such-program"
	for _, shim := range []mix.Shim{mix.Stock, mix.Ours} {
		_, err := r.Run(t.Context(), shim, c, mix.ByWait)
		require.ErrorContains(t, err, "no-such-program", shim.Name)
	}
}

// slowNode raises the hold timeout. Emulated CPUs stand still for seconds while the
// machine below them is busy, and no test here is about the hold timeout.
func slowNode(t *testing.T) {
	t.Helper()
	const dir = "/etc/oomwitness"
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.toml"), []byte("hold_timeout = '2m'\n"), 0o644))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
}

// TestAllAtOnce has many containers OOM-killed in the same moment. Their limits
// are small, so that the guest's own memory is not what runs out.
func TestAllAtOnce(t *testing.T) {
	r := runner(t)
	c, err := mix.Find("early-oom")
	require.NoError(t, err)
	n := counts.FromEnv(t, "AT_ONCE", 40)
	ready := make([]*mix.Prepared, n)
	outcomes := make([]mix.Outcome, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for first := range 4 {
		wg.Go(func() {
			for i := first; i < n; i += 4 {
				ready[i], errs[i] = r.Prepare(t.Context(), mix.Ours, c)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	for i, p := range ready {
		wg.Go(func() { outcomes[i], errs[i] = p.Finish(t.Context(), mix.ByWait) })
	}
	wg.Wait()
	for i := range outcomes {
		require.NoError(t, errs[i])
		check(t, c, outcomes[i])
	}
	t.Logf("%d of %d reported", n, n)
}

// TestMix makes many runs of the mix, some at a time, and wants every one
// right. It prints what it counted.
func TestMix(t *testing.T) {
	r := runner(t)
	var (
		cases = mix.Mix()
		n     = counts.FromEnv(t, "MIX_RUNS", 54)
		next  = make(chan int, n)
		mu    sync.Mutex
		gone  int
		bad   []string
	)
	for i := range n {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for i := range next {
				c := cases[i%len(cases)]
				o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
				faults := c.Faults(o)
				mu.Lock()
				switch {
				case err != nil:
					bad = append(bad, err.Error())
				case len(faults) > 0:
					bad = append(bad, fmt.Sprintf("%s: %v: verdict %+v", o.ID, faults, o.Verdict))
				}
				if o.Verdict != nil && o.Verdict.Gone {
					gone++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("mix driver=%s n=%d wrong=%d gone=%d", r.Driver, n, len(bad), gone)
	keep(t, fmt.Sprintf("mix driver=%s n=%d wrong=%d gone=%d\n", r.Driver, n, len(bad), gone))
	require.Empty(t, bad)
	require.Zero(t, r.Strangers(), "TaskOOM for a container that nobody made")
}

// keep adds a line to the figures that the host prints at the end.
func keep(t *testing.T, line string) {
	t.Helper()
	name := filepath.Join("/var/log/oomwitness", "figures")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	_, err = f.WriteString(line)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
