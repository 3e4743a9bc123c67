//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// When its shim dies, CRI's Wait breaks off and CRI itself reports 255. Some of a pod's
// containers are OOM-killed while the shim is stopped. In others a child was OOM-killed; they
// run until their removal, which follows the death of the shim.
var (
	kindOrphan  = faultkit.Kind{Name: "oom", Code: 255, Reason: faultkit.OOMKilled, Mode: "hog"}
	kindRemoved = faultkit.Kind{Name: "removed", Code: 255, Reason: "Error", Before: faultkit.KindStopTainted.Before}
)

// TestShimKilled has containers OOM-killed while their shim is stopped, and then kills the
// shim, by a signal or by the OOM killer. The binary that containerd runs with "delete" must
// report what the shim would have reported. A restarted containerd finds that binary in another
// way.
func TestShimKilled(t *testing.T) {
	n := setUpShort(t)
	for _, how := range []struct {
		name string
		kill func(context.Context, int) error
	}{
		{"signal", killShim},
		{"oom", oomKillShim},
	} {
		for _, restarted := range []bool{false, true} {
			if testing.Short() && restarted != (how.name == "oom") {
				continue // only two of the four with each way
			}
			f := fault{
				Fault: faultkit.Fault{Label: fmt.Sprintf("shim-killed by=%s containerd-restarted=%t", how.name, restarted)},
				kinds: []faultkit.Kind{kindOrphan, kindRemoved}, size: many,
			}
			t.Run(fmt.Sprintf("%s/restarted-%t", how.name, restarted), func(t *testing.T) {
				n.repeat(t, f, func(t *testing.T, f fault, now size, sum summary) {
					n.killShims(t, f, now, sum, restarted, how.kill)
				})
			})
		}
	}
}

func (n *node) killShims(t *testing.T, f fault, now size, sum summary, restarted bool, kill func(context.Context, int) error) {
	t.Helper()
	fl := n.newFleet(t, now, f.kinds)
	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience)
	defer cancel()
	if restarted {
		require.NoError(t, n.RestartKilled(ctx))
		require.NoError(t, n.ready(ctx))
	}
	require.NoError(t, n.events.sync(ctx))
	look := fl.look(ctx)
	require.NoError(t, fl.orphanAll(ctx, t, time.Second, kill))
	<-look
	require.NoError(t, fl.allOver(ctx))
	if n.shim != "stock" {
		fl.waitReported(ctx, t)
	}
	n.settle(t, fl)
	for _, m := range fl.members {
		sum.add(fl, f, m)
	}
}

// orphanAll has containers of each pod end while the shim is stopped, and kills the shim after
// a random time of at most soon.
func (fl *fleet) orphanAll(ctx context.Context, t *testing.T, soon time.Duration, kill func(context.Context, int) error) error {
	t.Helper()
	errs := make([]error, len(fl.pods))
	var wg sync.WaitGroup
	for i, pod := range fl.pods {
		shim, after := shimPid(t, pod), fl.n.Within(0, soon)
		wg.Go(func() {
			err := fl.orphan(ctx, pod, shim)
			if err == nil {
				err = faultkit.Pause(ctx, after)
			}
			if err == nil {
				err = kill(ctx, shim)
			}
			for _, m := range fl.members {
				if m.pod == pod {
					m.broke = time.Now()
				}
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// allOver waits until each container has ended: the clean-up after a dead shim kills what runs.
func (fl *fleet) allOver(ctx context.Context) error {
	for _, m := range fl.members {
		select {
		case <-m.over:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of %s %s: %w\n%s", m.Name, m.id, ctx.Err(), faultkit.LogEnd(m.id))
		}
	}
	return nil
}

// waitReported waits until CRI has received the OOMs, or lateReport has passed. CRI makes an
// exit up when its Wait breaks off, and that exit is ahead of the report by "delete". A
// container whose OOM CRI has not received in time is judged without.
func (fl *fleet) waitReported(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, lateReport)
	defer cancel()
	if err := faultkit.Until(ctx, "the report by delete", func() error { return fl.allReported(ctx) }); err != nil {
		t.Log(err)
	}
}

// lateReport is the time in which a TaskOOM must reach CRI when containerd, too, is short of
// CPU.
const lateReport = 15 * time.Second

// orphan stops a shim, and has containers of its pod end meanwhile.
func (fl *fleet) orphan(ctx context.Context, pod string, shim int) error {
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop shim %d: %w", shim, err)
	}
	for _, m := range fl.members {
		if m.pod != pod || m.Mode == "" {
			continue
		}
		if err := fl.fire(ctx, m); err != nil {
			return err
		}
		select {
		case <-m.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func killShim(_ context.Context, shim int) error {
	if err := unix.Kill(shim, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill shim %d: %w", shim, err)
	}
	return nil
}

// oomKillShim has the OOM killer end the shim. The shim moves to a small cgroup, in which a
// process that the OOM killer must not choose takes all the memory.
func oomKillShim(ctx context.Context, shim int) error {
	h, err := oom.FindHierarchy()
	if err != nil {
		return err
	}
	dir := filepath.Join(h.Mount, fmt.Sprintf("oomw-shim-%d", shim))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.Remove(dir)
	limit := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[h.Version]
	for file, text := range map[string]string{
		filepath.Join(dir, limit):                   strconv.Itoa(8 * mix.MiB),
		filepath.Join(dir, "cgroup.procs"):          strconv.Itoa(shim),
		fmt.Sprintf("/proc/%d/oom_score_adj", shim): "1000",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	pidfd, err := unix.PidfdOpen(shim, 0)
	if err != nil {
		return fmt.Errorf("shim %d: %w", shim, err)
	}
	defer unix.Close(pidfd)
	hog := exec.CommandContext(ctx, "/bin/sh", "-c", `echo -1000 >/proc/self/oom_score_adj; echo $$ >"$0/cgroup.procs"; exec "$1" hog`, dir, faultkit.WorkloadFile)
	if err := hog.Start(); err != nil {
		return err
	}
	err = faultkit.Ended(ctx, pidfd)
	return errors.Join(err, killAndReap(hog))
}

func killAndReap(cmd *exec.Cmd) error {
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // the error says that the process was killed
	return nil
}
