//go:build linux

package compat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/integration/mix"
)

// TestRestart kills containerd. Some containers end while containerd is away, and others when
// it is back. The client then subscribes and waits again.
func TestRestart(t *testing.T) {
	n := setUp(t)
	wrong, all := 0, 0
	for range min(n.runs, 5) {
		bad, of := n.restart(t)
		wrong, all = wrong+bad, all+of
	}
	faultkit.Keep(t, fmt.Sprintf("row=restart %s shim=oomwitness n=%d wrong=%d", n.where, all, wrong))
}

// outage is a time without containerd, shared by all containers that run through it.
type outage struct {
	ready, ended sync.WaitGroup // of the containers
	away, back   chan struct{}
	err          error // set before back is closed
}

// restart has containers of each way to end run through one restart of containerd.
func (n node) restart(t *testing.T) (wrong, all int) {
	t.Helper()
	o := &outage{away: make(chan struct{}), back: make(chan struct{})}
	var (
		cases []mix.Case
		began []*bool // whether each container has come to the outage
	)
	for _, c := range ends() {
		for name, meanwhile := range map[string]bool{"while-away-": true, "when-back-": false} {
			run, begun := c, new(bool)
			run.Name = name + c.Name
			run.Act = mix.Then(o.through(meanwhile, begun))
			cases, began = append(cases, run), append(began, begun)
		}
	}
	o.ready.Add(len(cases))
	o.ended.Add(len(cases))
	results := make([]mix.Outcome, len(cases))
	errs := make([]error, len(cases))
	var wg sync.WaitGroup
	for i, c := range cases {
		p, err := n.Prepare(t.Context(), mix.Ours, c)
		require.NoError(t, err)
		wg.Go(func() {
			if results[i], errs[i] = p.Finish(t.Context(), mix.ByWaitAgain); !*began[i] {
				o.ready.Done()
				o.ended.Done()
			}
		})
	}
	o.happen(t.Context(), n)
	wg.Wait()
	for i, c := range cases {
		results[i].OOMs = min(results[i].OOMs, 1) // one TaskOOM to each containerd instance
		if bad := c.Faults(results[i]); errs[i] != nil || len(bad) > 0 {
			wrong++
			t.Errorf("%s: %s: %v: %v: %+v", n.where, c.Name, errs[i], bad, results[i])
		}
	}
	return wrong, len(cases)
}

// happen kills containerd when all containers are ready. It starts containerd again when those
// containers have ended that end meanwhile.
func (o *outage) happen(ctx context.Context, n node) {
	o.ready.Wait()
	o.err = faultkit.KillContainerd(ctx)
	close(o.away)
	o.ended.Wait()
	o.err = errors.Join(o.err, faultkit.Run(ctx, "node-containerd", "start"))
	o.err = errors.Join(o.err, n.Resubscribe(ctx))
	close(o.back)
}

// through takes a container through the outage. init is asked to end during the outage or after
// it.
func (o *outage) through(meanwhile bool, begun *bool) func(context.Context, *mix.Running) error {
	return func(ctx context.Context, r *mix.Running) (err error) {
		*begun = true
		o.ready.Done()
		<-o.away
		if meanwhile {
			err = endInit(ctx, r)
		}
		o.ended.Done()
		<-o.back
		if !meanwhile {
			err = term(ctx, r)
		}
		return errors.Join(err, o.err)
	}
}

// ends returns ways for a container to end after a SIGTERM, each with the expected report.
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

// term sends init SIGTERM directly: containerd has asked for no stop.
func term(_ context.Context, r *mix.Running) error {
	return unix.Kill(int(r.Task.Pid()), unix.SIGTERM)
}

// endInit has init end, and returns when init has ended.
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

func both(first, second func(context.Context, *mix.Running) error) func(context.Context, *mix.Running) error {
	return func(ctx context.Context, r *mix.Running) error {
		if err := first(ctx, r); err != nil {
			return err
		}
		return second(ctx, r)
	}
}
