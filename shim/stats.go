//go:build linux

package shim

import (
	"context"
	"fmt"
	"slices"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// Stats answers from the cgroup while the container runs. Once its exit has
// been released it answers from the last reading, even when the cgroup is gone,
// and the OOM kills in it agree with the verdict: where a status is 137 and no
// TaskOOM came, containerd 2.3 and later take oom_kill > 0 for an OOM
// (internal/cri/server/events.go, oomMetricsEventOccurred).
func (s *Service) Stats(ctx context.Context, req *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	c := s.container(req.ID)
	// The current instance sees the exit, or the tombstone.
	sees := func(st *exit.State) bool {
		return st.Released() && (!st.Deleted() || st.Finds(s.instance()))
	}
	if c == nil || !c.is(sees) {
		return s.TTRPCTaskService.Stats(ctx, req)
	}
	c.mu.Lock()
	last, v := c.stats, c.verdict
	c.mu.Unlock()
	if v.Rule == 0 { // released at the hold timeout, and not decided yet
		return s.TTRPCTaskService.Stats(ctx, req)
	}
	if last == nil {
		resp, err := s.TTRPCTaskService.Stats(ctx, req)
		if err != nil {
			return nil, err
		}
		last = resp.Stats
	}
	settled, err := settleStats(last, v)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("metrics of %s: %w", c.id, err))
	}
	return &taskAPI.StatsResponse{Stats: typeurl.MarshalProto(settled)}, nil
}

// snapshot reads the metrics of a container whose cgroup may soon be gone. The old ones
// stay if the cgroup is gone already.
func (c *container) snapshot(ctx context.Context) {
	gone := func(e oom.Evidence) bool { return e.Gone }
	if slices.ContainsFunc(c.lastEvidence(), gone) {
		return
	}
	resp, err := c.s.TTRPCTaskService.Stats(ctx, &taskAPI.StatsRequest{ID: c.id})
	if err != nil || resp.Stats == nil {
		return // Stats itself says why when it is asked
	}
	c.mu.Lock()
	c.stats, c.statsAt = resp.Stats, time.Now()
	c.mu.Unlock()
}

// snappedSince reports whether the newest metrics are of then or later.
func (c *container) snappedSince(then time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats != nil && !c.statsAt.Before(then)
}

// settleStats returns metrics whose count of OOM kills is the verdict's: none
// where it was not OOM, at least one where it was.
func settleStats(last typeurl.Any, v oom.Verdict) (typeurl.Any, error) {
	var kills uint64
	if v.OOMKilled {
		kills = max(v.Kills, 1)
	}
	metrics, err := typeurl.UnmarshalAny(last)
	if err != nil {
		return nil, err
	}
	switch m := metrics.(type) {
	case *cgroup1.Metrics:
		if m.MemoryOomControl == nil {
			m.MemoryOomControl = &cgroup1.MemoryOomControl{}
		}
		m.MemoryOomControl.OomKill = kills
	case *cgroup2.Metrics:
		if m.MemoryEvents == nil {
			m.MemoryEvents = &cgroup2.MemoryEvents{}
		}
		m.MemoryEvents.OomKill = kills
	default:
		return nil, fmt.Errorf("unknown type %T", metrics)
	}
	return typeurl.MarshalAny(metrics)
}
