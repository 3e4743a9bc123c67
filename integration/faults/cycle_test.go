//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is something that goes wrong with the node.
type fault struct {
	// label names it in the figures.
	label string
	// kinds of containers in each pod, one of each if empty.
	kinds []kind
	// before prepares the node for each cycle, ahead of its pods.
	before func(context.Context) error
	// strike begins it.
	strike func(context.Context) error
	// lasts is the time between strike and heal.
	lasts time.Duration
	// heal ends it.
	heal func(context.Context) error
	// around is the time after strike within which the ends are "during" it.
	around time.Duration
	// bound says that a shim must show the exit in time, whatever the fault does.
	bound bool
	// excuse says that this wrong verdict is beyond what can be known.
	excuse func(*fleet, *member) bool
	// check gives what else is wrong with a container, empty for nothing.
	check func(*fleet, *member) string
}

// moment is when a container ends.
type moment struct {
	phase string // before, during or after
	after time.Duration
}

func (m moment) String() string {
	return fmt.Sprintf("%s+%s", m.phase, m.after.Round(time.Millisecond))
}

// drawMoment draws when a container ends: a third each before, during and after.
func (n *node) drawMoment(f fault) moment {
	switch n.within(0, 3) {
	case 0:
		return moment{"before", n.within(0, n.lead)}
	case 1:
		return moment{"during", n.within(0, max(f.lasts, f.around))}
	default:
		return moment{"after", n.within(0, n.lead)}
	}
}

// cycle runs a fault once, with all the containers of a fleet ending around it.
func (n *node) cycle(t *testing.T, f fault, pods int, sum tally) {
	t.Helper()
	use := f.kinds
	if len(use) == 0 {
		use = kinds
	}
	began := time.Now()
	if f.before != nil {
		require.NoError(t, f.before(t.Context()))
		require.NoError(t, n.ready(t.Context()))
	}
	fl := n.newFleet(t, pods, use)
	require.NoError(t, n.events.sync(t.Context()))
	for _, m := range fl.members {
		m.when = n.drawMoment(f)
	}
	t.Logf("%s: %d containers stand after %s", f.label, len(fl.members), time.Since(began).Round(time.Second))

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience+f.lasts)
	defer cancel()
	look := fl.look(ctx)
	asked := fl.askShims(ctx, t, f)
	require.NoError(t, fl.play(ctx, f))
	<-look
	<-asked
	n.settle(t, fl)
	for _, m := range fl.members {
		m.edge = m.end.Sub(fl.struck).Abs() < edge || m.end.Sub(fl.healed).Abs() < edge
		sum.add(fl, f, m)
	}
	t.Logf("%s: judged after %s", f.label, time.Since(began).Round(time.Second))
}

// play lets the fault happen and each container end in its moment.
func (fl *fleet) play(ctx context.Context, f fault) error {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		errs   []error
		phases = map[string]chan struct{}{"before": make(chan struct{}), "during": make(chan struct{}), "after": make(chan struct{})}
	)
	for _, m := range fl.members {
		wg.Go(func() {
			<-phases[m.when.phase]
			// The moment is what the test is about.
			err := pause(ctx, m.when.after)
			if err == nil {
				err = fl.fire(ctx, m)
			}
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	close(phases["before"])
	err := pause(ctx, fl.n.lead)
	close(phases["during"])
	if err == nil {
		err = f.strike(ctx)
	}
	fl.struck = time.Now()
	if err == nil {
		err = pause(ctx, f.lasts)
	}
	fl.healed = time.Now()
	if err == nil {
		err = f.heal(ctx)
	}
	if err == nil {
		err = fl.n.ready(ctx)
	}
	close(phases["after"])
	wg.Wait()
	return errors.Join(append(errs, err)...)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look asks CRI until it has called every container ended, and keeps what it
// said of each at first sight.
func (fl *fleet) look(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	open := map[string]*member{}
	for _, m := range fl.members {
		open[m.id] = m
	}
	go func() {
		defer close(done)
		for len(open) > 0 {
			if pause(ctx, poll) != nil {
				return
			}
			ids, err := fl.n.cri.Ended(ctx)
			if err != nil {
				continue // containerd is away
			}
			for _, id := range ids {
				if m := open[id]; m != nil {
					if m.first, err = fl.n.cri.Status(ctx, id); err == nil && m.first != nil {
						delete(open, id)
					}
				}
			}
		}
	}()
	return done
}

// settle waits for the events and takes the last word of CRI.
func (n *node) settle(t *testing.T, fl *fleet) {
	t.Helper()
	// An exit that containerd took while nobody listened never comes.
	_ = n.events.has(t.Context(), lateExit, func([]event) bool {
		for _, m := range fl.members {
			if _, exits := n.counted(m); exits == 0 {
				return false
			}
		}
		return true
	})
	require.NoError(t, n.events.sync(t.Context()))
	for _, m := range fl.members {
		var err error
		m.last, err = n.cri.Status(t.Context(), m.id)
		if err != nil {
			t.Logf("%s %s: %v", m.name, m.id, err)
		}
	}
}

// lateExit is how long a TaskExit may come after the status by CRI.
const lateExit = 3 * time.Second
