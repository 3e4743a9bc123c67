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

// Leases has the requests of Turns to the API server; apiserver.Client implements it.
type Leases interface {
	Lease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error)
	UpdateLease(ctx context.Context, lease *coordinationv1.Lease) error
}

// Turns limits how many nodes of a cluster change at the same time: one for each Lease. The
// chart makes the Leases NAME-0, NAME-1 and so on.
//
// A node whose change fails keeps its turn until the change succeeds or the turn expires: if
// changes fail, no further node begins one.
type Turns struct {
	API Leases
	// Namespace is the namespace of the Leases, Name the prefix of their names.
	Namespace, Name string
	// Node is the name of the node that asks.
	Node string
	// Most is the number of Leases; 0 for no limit.
	Most int
	// Lasts is the time after which a turn expires, so that a node that is gone for good holds
	// no turn.
	Lasts time.Duration
	Say   func(format string, args ...any)
}

// Take waits for a turn, and returns a function that gives the turn back.
func (t *Turns) Take(ctx context.Context) (back func(context.Context) error, err error) {
	if t.Most == 0 {
		return func(context.Context) error { return nil }, nil
	}
	began, waits := time.Now(), false
	for ; ; waits = true {
		lease, next, err := t.try(ctx)
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
		case <-time.After(min(pause(time.Since(began)), time.Until(next)+rand.N(every))):
		}
	}
}

// Limits of the pause between two questions of a node that waits.
const shortPause, longPause = 5 * time.Second, time.Minute

// pause returns the time until the next question of a node that has waited for a time: thousands
// of nodes may wait for hours, and must not ask all at the same moment.
func pause(waited time.Duration) time.Duration {
	mean := min(max(waited/4, shortPause), longPause)
	return mean/2 + rand.N(mean)
}

// try returns a Lease that this node holds now, nil for none, and then the time at which the next
// one expires. It first tries the Lease that this node held before.
func (t *Turns) try(ctx context.Context) (held *coordinationv1.Lease, next time.Time, err error) {
	var free []*coordinationv1.Lease
	next = time.Now().Add(t.Lasts)
	for i := range t.Most {
		name := fmt.Sprintf("%s-%d", t.Name, i)
		lease, err := t.API.Lease(ctx, t.Namespace, name)
		if err != nil {
			return nil, next, fmt.Errorf("lease %s/%s: %w", t.Namespace, name, err)
		}
		if holder(lease) == t.Node {
			held, err = t.hold(ctx, lease)
			return held, next, err
		}
		if end := expiry(lease); holder(lease) == "" || !time.Now().Before(end) {
			free = append(free, lease)
		} else if end.Before(next) {
			next = end
		}
	}
	if len(free) == 0 {
		return nil, next, nil
	}
	held, err = t.hold(ctx, free[rand.IntN(len(free))])
	return held, next, err
}

// hold writes this node into a Lease. If two nodes try at once, the API server accepts one: the
// update names the version that it changes.
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

// expiry returns when a Lease expires, the zero time for a Lease that does not say.
func expiry(l *coordinationv1.Lease) time.Time {
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second)
}
