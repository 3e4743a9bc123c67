//go:build linux

package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// TestOOMKilledAtFirstSight has many pods reach their limits at once.
func TestOOMKilledAtFirstSight(t *testing.T) {
	s := setUp(t)
	s.oomAtOnce(t)
}

// TestStock is the same under the stock shim, and counts only.
func TestStock(t *testing.T) {
	s := setUp(t)
	s.shim = "stock"
	s.oomAtOnce(t)
}

// oomAtOnce has as many pods as there are to be runs, at least 5, in waves of
// KUBE_AT_ONCE: on an emulated machine 50 OOMs at once take half a minute of both
// CPUs, and CRI gives each container 10 s.
func (s *suite) oomAtOnce(t *testing.T) {
	t.Helper()
	pods := max(5, s.Runs)
	wave := min(pods, counts.FromEnv(t, "KUBE_AT_ONCE", pods))
	var all []*subject
	for left := pods; left > 0; left -= wave {
		t.Run("wave", func(t *testing.T) {
			t.Cleanup(func() { s.clear(t) })
			var subjects []*subject
			for range min(left, wave) {
				subjects = append(subjects, s.pod(t, s.class(), faultkit.KindOOM)...)
			}
			require.NoError(t, s.stand(t.Context(), startTime(wave), subjects))
			s.endThem(t, subjects)
			all = append(all, subjects...)
		})
	}
	s.judge(t, fmt.Sprintf("oom at-once=%d", wave), all)
}

// endAll ends all containers at the same time, and judges.
func (s *suite) endAll(t *testing.T, label string, subjects []*subject) {
	t.Helper()
	s.endThem(t, subjects)
	s.judge(t, label, subjects)
}

// endThem ends all containers at the same time, and waits until they have ended.
func (s *suite) endThem(t *testing.T, subjects []*subject) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(subjects))
	for i, m := range subjects {
		wg.Go(func() { errs[i] = s.end(t.Context(), m) })
	}
	wg.Wait()
	require.Empty(t, slices.DeleteFunc(errs, func(err error) bool { return err == nil }))
	require.NoError(t, s.over(t.Context(), startTime(len(subjects)), subjects))
}

// TestCleanEnds has children OOM-killed whose parents then end well: the kill is
// no reason for the container. kubelet must leave the killing of the others to
// them.
func TestCleanEnds(t *testing.T) {
	s := setUp(t)
	s.setKubelet(t, "singleProcessOOMKill: true")
	kinds := []faultkit.Kind{
		{Name: "child-oom-exit0", Reason: "Completed", Before: []string{"/workload", "child-oom-exit", "0"}},
		{Name: "child-oom-stop", Code: 143, Reason: "Error", Before: faultkit.KindStopTainted.Before},
		{Name: "exit3", Code: 3, Reason: "Error", Before: []string{"/workload", "exit", "3"}},
	}
	var all, toStop []*subject
	for range s.Runs {
		for _, k := range kinds {
			m := s.pod(t, s.class(), k)
			all = append(all, m...)
			if k.Before[1] == faultkit.KindStopTainted.Before[1] {
				toStop = append(toStop, m...)
			}
		}
	}
	patience := startTime(len(all))
	require.NoError(t, s.stand(t.Context(), patience, toStop))
	for _, m := range toStop {
		require.NoError(t, s.end(t.Context(), m))
	}
	require.NoError(t, s.over(t.Context(), patience, all))
	s.judge(t, "clean-ends", all)
}

// kubeletTime is how long kubelet may take to start.
const kubeletTime = 2 * time.Minute

// setKubelet starts kubelet again with lines of configuration on top, until the
// test is over.
func (s *suite) setKubelet(t *testing.T, lines string) {
	t.Helper()
	require.NoError(t, ConfigureKubelet(t.Context(), lines))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), kubeletTime)
		defer cancel()
		require.NoError(t, ConfigureKubelet(ctx, ""))
	})
}
