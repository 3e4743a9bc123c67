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
	if c == nil {
		return s.TTRPCTaskService.Stats(ctx, req)
	}
	last, v := c.lastStats(s.instance())
	if last == nil || v.Rule == "" {
		resp, err := s.TTRPCTaskService.Stats(ctx, req)
		if err == nil {
			last = resp.Stats
		} else if last, v = c.lastStats(s.instance()); last == nil || !isNotFound(err) {
			return nil, err // else a Delete has taken the task away
		}
	}
	if v.Rule == "" {
		return &taskAPI.StatsResponse{Stats: typeurl.MarshalProto(last)}, nil
	}
	settled, err := settleStats(last, v)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("metrics of %s: %w", c.id, err))
	}
	return &taskAPI.StatsResponse{Stats: typeurl.MarshalProto(settled)}, nil
}

// lastStats returns the last reading of the metrics, and the verdict once the exit is
// released. It returns neither to an instance that does not find the container.
func (c *container) lastStats(by exit.Instance) (last typeurl.Any, v oom.Verdict) {
	var finds, shows bool
	c.loop.Do(func(st *exit.State) { finds, shows = st.Finds(by), st.Released() })
	if !finds {
		return nil, v
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if shows {
		v = c.verdict
	}
	return c.stats, v
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
