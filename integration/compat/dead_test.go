//go:build linux

package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// dying is a runtime whose shims die at the fault point that the file pointFile names.
var dying = mix.Shim{Name: "dying", Runtime: "io.containerd.oomdying.v2"}

const (
	pointFile   = "/run/oomwitness.point"
	dyingFile   = "/usr/local/bin/containerd-shim-oomdying-v2"
	dyingScript = `#!/bin/sh
OOMWITNESS_FAULT=$(cat ` + pointFile + `) exec /opt/oomwitness/bin/containerd-shim-oomwitness-faults-v2 "$@"
`
	tasks = "/run/containerd/io.containerd.runtime.v2.task/"
)

// death is a moment at which a shim dies, and the case in which it dies.
type death struct {
	name  string
	shim  mix.Shim
	point string
	mix.Case
}

// deaths returns deaths before and after init is reaped. After the reap the true status is
// known; before it, the reported status is 137.
func deaths() []death {
	var all []death
	for _, point := range []string{"decided", "recorded"} {
		for _, c := range ends() {
			c.Act = mix.Then(term)
			all = append(all, death{name: "after-reaping-" + point, shim: dying, point: point, Case: c})
		}
		for _, c := range []mix.Case{
			{Name: "child-oom-exit-1", Container: limited("child-oom-exit", "1", "1000"), Want: mix.Want{OOM: true, Status: 1}},
			{Name: "child-oom-exit-0", Container: limited("child-oom-exit", "0", "1000")},
		} {
			all = append(all, death{name: "after-reaping-" + point, shim: dying, point: point, Case: c})
		}
	}
	return append(all,
		death{name: "init-runs", shim: mix.Ours, Case: mix.Case{
			Name: "idle", Container: limited("trap-term", "3"), Act: mix.Then(killShim), Want: mix.Want{Status: 137},
		}},
		death{name: "init-runs", shim: mix.Ours, Case: mix.Case{
			Name: "child-killed", Container: limited("child-oom-sleep"), Act: both(mix.ChildDied, killShim), Want: mix.Want{Status: 137},
		}},
		death{name: "before-reaping", shim: mix.Ours, Case: mix.Case{
			Name: "hog", Container: limited("term-hog"), Act: mix.Then(behindShim), Want: mix.Want{OOM: true, Status: 137},
		}})
}

// TestDeadShim has shims die. It wants the results of the table in docs/reliability.md, one
// TaskExit after its TaskOOM, no bundle and no process.
func TestDeadShim(t *testing.T) {
	n := setUp(t)
	require.NoError(t, os.WriteFile(dyingFile, []byte(dyingScript), 0o755))
	wrong, runs := 0, 0
	for _, d := range deaths() {
		t.Run(d.name+"/"+d.Name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(pointFile, []byte(d.point), 0o644))
			for range min(n.runs, 5) {
				runs++
				if bad := n.die(t, d); len(bad) > 0 {
					wrong++
					t.Errorf("%s: %v", n.where, bad)
				}
			}
		})
	}
	faultkit.Keep(t, fmt.Sprintf("row=dead-shim %s shim=oomwitness n=%d wrong=%d", n.where, runs, wrong))
}

func (n node) die(t *testing.T, d death) (bad []string) {
	t.Helper()
	o, err := n.Run(t.Context(), d.shim, d.Case, mix.ByRemoval)
	if err != nil {
		return []string{err.Error()}
	}
	if d.shim.Name == dying.Name && o.OOMs == 2 {
		o.OOMs = 1 // the TaskOOM was acked, and the shim died before it could record the ack
	}
	if bad = d.Faults(o); len(bad) > 0 {
		bad = append(bad, fmt.Sprintf("%+v", o), faultkit.LogEnd(o.ID))
	}
	err = faultkit.Until(t.Context(), "nothing to be left of "+o.ID, func() error {
		if _, err := os.Stat(filepath.Join(tasks, "oomw", o.ID)); err == nil {
			return fmt.Errorf("its bundle is there")
		}
		if pid := faultkit.ShimPid(o.ID); pid != 0 {
			return fmt.Errorf("its shim %d runs", pid)
		}
		return nil
	})
	if err != nil {
		bad = append(bad, err.Error())
	}
	return bad
}

func killShim(_ context.Context, r *mix.Running) error {
	return unix.Kill(faultkit.ShimPid(r.Task.ID()), unix.SIGKILL)
}

// behindShim stops the shim, has the OOM killer end init, and then kills the shim.
func behindShim(ctx context.Context, r *mix.Running) error {
	shim := faultkit.ShimPid(r.Task.ID())
	if err := unix.Kill(shim, unix.SIGSTOP); err != nil {
		return err
	}
	if err := endInit(ctx, r); err != nil {
		return err
	}
	return unix.Kill(shim, unix.SIGKILL)
}
