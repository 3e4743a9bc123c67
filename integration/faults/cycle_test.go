//go:build linux

package faults

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// fault is a failure of the node, and the expected reports.
type fault struct {
	faultkit.Fault
	// kinds are the kinds of containers in each pod, all kinds if empty.
	kinds []faultkit.Kind
	// size is the size of a cycle, [few] if empty.
	size size
	// before prepares the node for each cycle, before its pods start.
	before func(context.Context) error
	// bound says that a shim must show the exit within the hold timeout, whatever fails.
	bound bool
	// excuse reports whether a wrong verdict is excused because nobody could know the right
	// one.
	excuse func(*fleet, *member) bool
	// joined says that each pod gets a further container after the fault.
	joined bool
	// check returns a further fault of a container, "" for none.
	check func(*fleet, *member) string
}

// cycle runs a fault once: all containers of a fleet end around the fault.
func (n *node) cycle(t *testing.T, f fault, now size, sum summary) {
	t.Helper()
	use := f.kinds
	if len(use) == 0 {
		use = faultkit.Kinds
	}
	began := time.Now()
	if f.before != nil {
		require.NoError(t, f.before(t.Context()))
		require.NoError(t, n.ready(t.Context()))
	}
	fl := n.newFleet(t, now, use)
	require.NoError(t, n.events.sync(t.Context()))
	for _, m := range fl.members {
		m.when = n.Moment(f.Fault)
	}
	t.Logf("%s: %d containers stand after %s", f.Label, len(fl.members), time.Since(began).Round(time.Second))

	ctx, cancel := context.WithTimeout(t.Context(), 2*faultkit.Patience+f.Lasts)
	defer cancel()
	look := fl.look(ctx)
	asked := fl.askShims(ctx, t, f)
	require.NoError(t, fl.play(ctx, f))
	// A container that CRI gave up in its recovery is reported as running for ever.
	defer time.AfterFunc(lateStatus, cancel).Stop()
	<-look
	<-asked
	if f.joined {
		require.NoError(t, fl.join(ctx))
	}
	n.settle(t, fl)
	for _, m := range fl.members {
		m.edge = m.end.Sub(fl.Struck).Abs() < edge || m.end.Sub(fl.Healed).Abs() < edge
		sum.add(fl, f, m)
	}
	t.Logf("%s: judged after %s", f.Label, time.Since(began).Round(time.Second))
}

// play lets the fault happen, and each container end at its moment.
func (fl *fleet) play(ctx context.Context, f fault) (err error) {
	actors := make([]faultkit.Actor, len(fl.members))
	for i, m := range fl.members {
		actors[i] = faultkit.Actor{When: m.when, End: func(ctx context.Context) error { return fl.fire(ctx, m) }}
	}
	fl.n.Away = fl.note
	defer func() { fl.n.Away = nil }()
	fl.Played, err = fl.n.Play(ctx, f.Fault, fl.n.ready, actors)
	return err
}

// look asks CRI until CRI has called every container exited. It keeps CRI's first status of
// each.
func (fl *fleet) look(ctx context.Context) <-chan struct{} { return fl.lookFor(ctx, fl.members) }

func (fl *fleet) lookFor(ctx context.Context, members []*member) <-chan struct{} {
	done := make(chan struct{})
	open := map[string]*member{}
	for _, m := range members {
		open[m.id] = m
	}
	go func() {
		defer close(done)
		for len(open) > 0 {
			if faultkit.Pause(ctx, faultkit.Poll) != nil {
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

// settle waits for the events, and then takes CRI's last status.
func (n *node) settle(t *testing.T, fl *fleet) {
	t.Helper()
	// The TaskExit of an exit that containerd took without a subscriber never comes.
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
			t.Logf("%s %s: %v", m.Name, m.id, err)
		}
		if m.last == nil && slices.ContainsFunc(faultkit.LogOf(m.id), gaveUp) {
			n.stopUnknown(t, m)
		}
	}
}

// stopUnknown stops a container that CRI calls unknown, as kubelet does, and takes CRI's status
// then.
func (n *node) stopUnknown(t *testing.T, m *member) {
	t.Helper()
	if err := n.cri.Stop(t.Context(), m.id, 1); err != nil {
		t.Logf("stop %s %s, which CRI does not know of: %v", m.Name, m.id, err)
	}
	var err error
	if m.stopped, err = n.cri.Status(t.Context(), m.id); err != nil {
		t.Logf("%s %s: %v", m.Name, m.id, err)
	}
}

// lateStatus is the time in which CRI must show all ends, counted from its first answer and
// from the last end.
const lateStatus = time.Minute

// lateExit is how long after CRI's status a TaskExit may come.
const lateExit = 3 * time.Second
