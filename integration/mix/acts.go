//go:build linux

package mix

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oomwitness/oomwitness/integration/workload"
)

type act = func(context.Context, *Running) error

// then returns an act that runs acts one after the other.
func then(acts ...act) act {
	return func(ctx context.Context, r *Running) error {
		for _, a := range acts {
			if err := a(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// Then returns an act that runs acts one after the other, once init has printed that it is
// ready.
func Then(acts ...act) act { return then(append([]act{saidReady}, acts...)...) }

// ChildDied waits until init prints that its child was killed.
func ChildDied(ctx context.Context, r *Running) error { return childDied(ctx, r) }

// ClientKill returns an act in which containerd sends a signal to init.
func ClientKill(s syscall.Signal) func(context.Context, *Running) error { return clientKill(s) }

// ExecKilled runs an exec that hogs until the OOM killer ends it.
func ExecKilled(ctx context.Context, r *Running) error { return execKilled(ctx, r) }

// ExecEnds returns an act that runs an exec of the workload, and wants that status.
func ExecEnds(status uint32, args ...string) func(context.Context, *Running) error {
	return func(ctx context.Context, r *Running) error { return execEnds(ctx, r, status, args) }
}

// After returns an act that waits. It is for cases whose subject is a length of time.
func After(d time.Duration) func(context.Context, *Running) error { return after(d) }

// KillFromHost returns an act that sends a signal to init past containerd.
func KillFromHost(s syscall.Signal) func(context.Context, *Running) error {
	return func(_ context.Context, r *Running) error { return syscall.Kill(int(r.Task.Pid()), s) }
}

func childDied(ctx context.Context, r *Running) error { return r.out.wait(ctx, "child died") }
func saidReady(ctx context.Context, r *Running) error { return r.out.wait(ctx, "ready") }

// after returns an act that waits.
func after(d time.Duration) act {
	return func(ctx context.Context, _ *Running) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func clientKill(s syscall.Signal) act {
	return func(ctx context.Context, r *Running) error { return r.Task.Kill(ctx, s) }
}

var hostKill = KillFromHost(syscall.SIGKILL)

func pauseResume(ctx context.Context, r *Running) error {
	if err := r.Task.Pause(ctx); err != nil {
		return err
	}
	return r.Task.Resume(ctx)
}

func updateLimit(limit int64) act {
	return func(ctx context.Context, r *Running) error {
		return r.Task.Update(ctx, client.WithResources(&specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &limit},
		}))
	}
}

// execKilled runs an exec that is OOM-killed, and wants the exec's exit at once.
func execKilled(ctx context.Context, r *Running) error {
	return execEnds(ctx, r, sigKilled, []string{"hog"})
}

func execEnds(ctx context.Context, r *Running, want uint32, args []string) error {
	spec, err := r.container.Spec(ctx)
	if err != nil {
		return err
	}
	p := *spec.Process
	p.Args = append([]string{workload.Path}, args...)
	score := 1000
	p.OOMScoreAdj = &score
	exec, err := r.Task.Exec(ctx, "hog", &p, cio.NullIO)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	exited, err := exec.Wait(ctx)
	if err != nil {
		return fmt.Errorf("wait for exec: %w", err)
	}
	if err := exec.Start(ctx); err != nil {
		return fmt.Errorf("start exec: %w", err)
	}
	status := <-exited
	if _, err := exec.Delete(ctx); err != nil {
		return fmt.Errorf("delete exec: %w", err)
	}
	if status.Error() != nil || status.ExitCode() != want {
		return fmt.Errorf("exec ended with %d, want %d: %w", status.ExitCode(), want, errors.Join(status.Error()))
	}
	return nil
}
