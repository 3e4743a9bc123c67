//go:build linux

package compat

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// TestRestart kills containerd, with containers that end while it is away, or when
// it is back. The client subscribes and waits again.
func TestRestart(t *testing.T) {
	n := setUp(t)
	wrong, runs := 0, 0
	for _, c := range ends() {
		for name, act := range map[string]func(context.Context, *mix.Running) error{
			"while-away": both(both(killContainerd, endInit), startContainerd),
			"when-back":  both(both(killContainerd, startContainerd), term),
		} {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				c.Act = mix.Then(act)
				for range min(n.runs, 5) {
					runs++
					o, err := n.Run(t.Context(), mix.Ours, c, mix.ByWaitAgain)
					if err != nil {
						wrong++
						t.Error(err)
						continue
					}
					o.OOMs = min(o.OOMs, 1) // one to each containerd
					if bad := c.Faults(o); len(bad) > 0 {
						wrong++
						t.Errorf("%s: %v: %+v", n.where, bad, o)
					}
				}
			})
		}
	}
	faultkit.Keep(t, fmt.Sprintf("row=restart %s shim=oomwitness n=%d wrong=%d", n.where, runs, wrong))
}

// ends are ways for a container to end at a SIGTERM, and what is wanted then.
func ends() []mix.Case {
	return []mix.Case{
		{Name: "hog", Container: limited("term-hog"), Want: mix.Want{OOM: true, Status: 137}},
		{Name: "exit-3", Container: limited("trap-term", "3"), Want: mix.Want{Status: 3}},
		{Name: "exit-0", Container: limited("trap-term", "0")},
	}
}

func limited(args ...string) mix.Container {
	return mix.Container{Args: args, Limit: 24 * mix.MiB, Output: true}
}

// term asks init to end, past containerd, which so has not asked for it.
func term(_ context.Context, r *mix.Running) error {
	return unix.Kill(int(r.Task.Pid()), unix.SIGTERM)
}

// endInit has init end, and comes back when it has.
func endInit(ctx context.Context, r *mix.Running) error {
	init, err := unix.PidfdOpen(int(r.Task.Pid()), 0)
	if err != nil {
		return err
	}
	defer unix.Close(init)
	if err := unix.PidfdSendSignal(init, unix.SIGTERM, nil, 0); err != nil {
		return err
	}
	return faultkit.Ended(ctx, init)
}

func killContainerd(ctx context.Context, _ *mix.Running) error { return faultkit.KillContainerd(ctx) }

func startContainerd(ctx context.Context, _ *mix.Running) error {
	return faultkit.Run(ctx, "node-containerd", "start")
}

func both(first, second func(context.Context, *mix.Running) error) func(context.Context, *mix.Running) error {
	return func(ctx context.Context, r *mix.Running) error {
		if err := first(ctx, r); err != nil {
			return err
		}
		return second(ctx, r)
	}
}
