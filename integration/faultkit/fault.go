//go:build linux

package faultkit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Fault is something that goes wrong with the node.
type Fault struct {
	// Label names it in the figures.
	Label string
	// Strike begins it.
	Strike func(context.Context) error
	// Lasts is the time between Strike and Heal.
	Lasts time.Duration
	// Heal ends it.
	Heal func(context.Context) error
	// Around is the time after Strike within which the ends are "during" it.
	Around time.Duration
}

// NoFault is the control.
func (p *Plan) NoFault() Fault {
	return Fault{Label: "none", Strike: none, Heal: none, Around: p.Lead}
}

func none(context.Context) error { return nil }

// ContainerdKilled kills containerd, and lets it come back after a while.
func (p *Plan) ContainerdKilled(back time.Duration) Fault {
	return Fault{
		Label:  fmt.Sprintf("containerd-killed back=%s", back),
		Strike: KillContainerd, Lasts: back, Heal: Release, Around: 2 * time.Second,
	}
}

// Backs are the times after which a killed containerd comes back.
func (p *Plan) Backs() []time.Duration {
	backs := []time.Duration{0, 5 * time.Second}
	if p.Full {
		backs = append(backs, 30*time.Second, 90*time.Second)
	}
	return backs
}

// ContainerdStopped stops containerd with SIGSTOP. Nothing can take the shims'
// events.
func (p *Plan) ContainerdStopped() Fault {
	lasts := 8 * time.Second
	if p.Full {
		lasts = 30 * time.Second
	}
	return Fault{
		Label:  fmt.Sprintf("containerd-sigstop for=%s", lasts),
		Strike: SignalContainerd(unix.SIGSTOP), Lasts: lasts, Heal: SignalContainerd(unix.SIGCONT),
	}
}

// restarts is how often containerd is killed in a row.
const restarts = 5

// ContainerdRestarts kills containerd five times in a row, as it pleases also
// before it has recovered.
func (p *Plan) ContainerdRestarts() Fault {
	return Fault{
		Label: fmt.Sprintf("containerd-restarts=%d storm", restarts),
		Strike: func(ctx context.Context) error {
			for range restarts {
				if err := RestartKilled(ctx); err != nil {
					return err
				}
				if err := Pause(ctx, p.Within(0, p.Lead)); err != nil {
					return err
				}
			}
			return nil
		},
		Heal: none, Around: restarts * p.Lead,
	}
}

// Actor is who ends at a moment.
type Actor struct {
	When Moment
	End  func(context.Context) error
}

// Played is when the fault had begun, and the time before its end.
type Played struct{ Struck, Healed time.Time }

// Play lets the fault happen and each actor end in its moment. What comes after
// the fault comes when the node is ready again.
func (p *Plan) Play(ctx context.Context, f Fault, ready func(context.Context) error, actors []Actor) (Played, error) {
	var (
		wg     sync.WaitGroup
		played Played
		errs   = make([]error, len(actors))
		phases = map[string]chan struct{}{"before": make(chan struct{}), "during": make(chan struct{}), "after": make(chan struct{})}
	)
	for i, a := range actors {
		wg.Go(func() {
			<-phases[a.When.Phase]
			if errs[i] = Pause(ctx, a.When.After); errs[i] == nil {
				errs[i] = a.End(ctx)
			}
		})
	}
	close(phases["before"])
	err := Pause(ctx, p.Lead)
	close(phases["during"])
	if err == nil {
		err = f.Strike(ctx)
	}
	played.Struck = time.Now()
	if err == nil {
		err = Pause(ctx, f.Lasts)
	}
	played.Healed = time.Now()
	if err == nil {
		err = f.Heal(ctx)
	}
	if err == nil {
		err = ready(ctx)
	}
	close(phases["after"])
	wg.Wait()
	return played, errors.Join(append(errs, err)...)
}
