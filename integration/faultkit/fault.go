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

// Fault is a failure of a part of the node.
type Fault struct {
	// Label names the fault in the figures.
	Label string
	// Strike begins the fault.
	Strike func(context.Context) error
	// Lasts is the time between Strike and Heal.
	Lasts time.Duration
	// Heal ends the fault.
	Heal func(context.Context) error
	// Around is the time after Strike in which an end counts as "during" the fault.
	Around time.Duration
}

// NoFault returns the control: nothing fails.
func (p *Plan) NoFault() Fault {
	return Fault{Label: "none", Strike: none, Heal: none, Around: p.Lead}
}

func none(context.Context) error { return nil }

// ContainerdKilled returns a fault that kills containerd. A new one starts after the given
// time.
func (p *Plan) ContainerdKilled(back time.Duration) Fault {
	return Fault{
		Label:  fmt.Sprintf("containerd-killed back=%s", back),
		Strike: p.kill, Lasts: back, Heal: Release, Around: 2 * time.Second,
	}
}

// Backs returns the times after which a killed containerd is started again.
func (p *Plan) Backs() []time.Duration {
	backs := []time.Duration{0, 5 * time.Second}
	if p.Full {
		backs = append(backs, 30*time.Second, 90*time.Second)
	}
	return backs
}

// ContainerdStopped returns a fault that stops containerd with SIGSTOP. Nothing can then take
// the shims' events.
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

// restarts is the number of kills of containerd in a row.
const restarts = 5

// ContainerdRestarts returns a fault that kills containerd five times in a row at random
// moments, some of them before containerd has recovered.
func (p *Plan) ContainerdRestarts() Fault {
	return Fault{
		Label: fmt.Sprintf("containerd-restarts=%d storm", restarts),
		Strike: func(ctx context.Context) error {
			for range restarts {
				if err := p.RestartKilled(ctx); err != nil {
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

// Actor is a container that ends at a moment.
type Actor struct {
	When Moment
	End  func(context.Context) error
}

// Played has the times at which the fault had begun and at which its end began.
type Played struct{ Struck, Healed time.Time }

// Play lets the fault happen, and each actor end at its moment. Actors of the phase after the
// fault end when the node is ready again.
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
