//go:build linux

package kube

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// most is how many pods of each sort go through one cycle.
const most = 3

// runFault runs a fault as often as asked for, and judges. What the client stops
// is in a pod of its own, since it is stopped by the deletion of its pod.
func (s *suite) runFault(t *testing.T, f faultkit.Fault, kinds []faultkit.Kind) {
	t.Helper()
	var own, stopped []faultkit.Kind
	for _, k := range kinds {
		if k.Mode == "" {
			stopped = append(stopped, k)
		} else {
			own = append(own, k)
		}
	}
	var all []*subject
	for left := s.Runs; left > 0; left -= most {
		t.Run("cycle", func(t *testing.T) {
			t.Cleanup(func() { s.clear(t) })
			all = append(all, s.cycle(t, f, min(left, most), own, stopped)...)
		})
	}
	s.judge(t, f.Label, all)
}

// cycle runs a fault once, with the containers of some pods ending around it.
func (s *suite) cycle(t *testing.T, f faultkit.Fault, runs int, own, stopped []faultkit.Kind) []*subject {
	t.Helper()
	began := time.Now()
	var subjects []*subject
	for range runs {
		subjects = append(subjects, s.pod(t, s.class(), own...)...)
		for _, k := range stopped {
			subjects = append(subjects, s.pod(t, s.class(), k)...)
		}
	}
	require.NoError(t, s.stand(t.Context(), startTime(2*runs), subjects))
	for _, m := range subjects {
		m.when = s.Moment(f)
	}
	t.Logf("%s: %d containers stand after %s", f.Label, len(subjects), time.Since(began).Round(time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), 4*faultkit.Patience+f.Lasts)
	defer cancel()
	actors := make([]faultkit.Actor, len(subjects))
	for i, m := range subjects {
		actors[i] = faultkit.Actor{When: m.when, End: func(ctx context.Context) error { return s.end(ctx, m) }}
	}
	_, err := s.Play(ctx, f, func(ctx context.Context) error { return faultkit.Ready(ctx, s.cri) }, actors)
	require.NoError(t, err)
	require.NoError(t, s.over(ctx, 2*faultkit.Patience, subjects))
	t.Logf("%s: judged after %s", f.Label, time.Since(began).Round(time.Second))
	return subjects
}

// TestContainerdKilled kills containerd before, while and after containers end,
// and lets it come back after a while.
func TestContainerdKilled(t *testing.T) {
	s := setUp(t)
	for _, back := range s.Backs() {
		t.Run(fmt.Sprint("back-", back), func(t *testing.T) {
			s.runFault(t, s.ContainerdKilled(back), faultkit.Kinds)
		})
	}
}

// TestContainerdStopped stops containerd with SIGSTOP.
func TestContainerdStopped(t *testing.T) {
	s := setUp(t)
	s.runFault(t, s.ContainerdStopped(), faultkit.Kinds)
}

// TestRestartsInStorm kills containerd five times in a row while many containers
// are OOM-killed.
func TestRestartsInStorm(t *testing.T) {
	s := setUp(t)
	s.runFault(t, s.ContainerdRestarts(), slices.Repeat([]faultkit.Kind{faultkit.KindOOM}, 5))
}
