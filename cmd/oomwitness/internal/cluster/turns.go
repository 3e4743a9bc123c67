package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Leases are what Turns asks of the API server: an apiserver.Client.
type Leases interface {
	Lease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error)
	UpdateLease(ctx context.Context, lease *coordinationv1.Lease) error
}

// Turns lets so many nodes of a cluster change at once as there are Leases for it. The
// chart makes these, NAME-0 and on.
//
// A node whose change fails keeps its turn, until it succeeds or the turn has expired:
// where changes go wrong, they stop to be made.
type Turns struct {
	API Leases
	// Namespace is that of the Leases, Name what their names begin with.
	Namespace, Name string
	// Node is who asks.
	Node string
	// Most is how many Leases there are; 0 for no bound.
	Most int
	// Lasts is when a turn expires, so that a node that is gone for good holds none.
	Lasts time.Duration
	Say   func(format string, args ...any)
}

// Take waits for a turn and returns what gives it back.
func (t *Turns) Take(ctx context.Context) (back func(context.Context) error, err error) {
	if t.Most == 0 {
		return func(context.Context) error { return nil }, nil
	}
	for waits := false; ; waits = true {
		lease, err := t.try(ctx)
		if err != nil {
			return nil, err
		}
		if lease != nil {
			t.Say("it is this node's turn: lease %s/%s", lease.Namespace, lease.Name)
			return func(ctx context.Context) error { return t.giveBack(ctx, lease.Name) }, nil
		}
		if !waits {
			t.Say("waiting for a turn: %d nodes change at once", t.Most)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a turn: %w", ctx.Err())
		case <-time.After(every + rand.N(every)): // not all nodes at one moment
		}
	}
}

// try returns a Lease that this node holds now, nil for none. The one that it held
// before comes first.
func (t *Turns) try(ctx context.Context) (*coordinationv1.Lease, error) {
	var free []*coordinationv1.Lease
	for i := range t.Most {
		name := fmt.Sprintf("%s-%d", t.Name, i)
		lease, err := t.API.Lease(ctx, t.Namespace, name)
		if err != nil {
			return nil, fmt.Errorf("lease %s/%s: %w", t.Namespace, name, err)
		}
		if holder(lease) == t.Node {
			return t.hold(ctx, lease)
		}
		if holder(lease) == "" || expired(lease) {
			free = append(free, lease)
		}
	}
	if len(free) == 0 {
		return nil, nil
	}
	return t.hold(ctx, free[rand.IntN(len(free))])
}

// hold writes this node into a Lease. Of two nodes that try, the API server lets one:
// the update names the version that it changes.
func (t *Turns) hold(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	now, seconds := metav1.NowMicro(), int32(t.Lasts/time.Second)
	lease.Spec = coordinationv1.LeaseSpec{HolderIdentity: &t.Node, AcquireTime: &now, RenewTime: &now, LeaseDurationSeconds: &seconds}
	err := t.API.UpdateLease(ctx, lease)
	if apierrors.IsConflict(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lease %s/%s: %w", lease.Namespace, lease.Name, err)
	}
	return lease, nil
}

func (t *Turns) giveBack(ctx context.Context, name string) error {
	lease, err := t.API.Lease(ctx, t.Namespace, name)
	if err == nil && holder(lease) == t.Node {
		lease.Spec = coordinationv1.LeaseSpec{}
		err = t.API.UpdateLease(ctx, lease)
	}
	if err != nil {
		return fmt.Errorf("lease %s/%s: %w", t.Namespace, name, err)
	}
	return nil
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func expired(l *coordinationv1.Lease) bool {
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return true
	}
	return time.Since(l.Spec.RenewTime.Time) > time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second
}
