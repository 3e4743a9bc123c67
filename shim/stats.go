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
)

// Stats answers from the cgroup while the container runs. Once its exit has
// been released it answers from the last reading, even when the cgroup is gone,
// and the OOM kills in it agree with the verdict: where a status is 137 and no
// TaskOOM came, containerd 2.3 and later take oom_kill > 0 for an OOM
// (internal/cri/server/events.go, oomMetricsEventOccurred).
func (s *Service) Stats(ctx context.Context, req *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	r := s.run(req.ID)
	if b := s.tombstone(req.ID, ""); b != nil {
		r = b.run
	}
	if r == nil || !opened(r.released) {
		return s.TTRPCTaskService.Stats(ctx, req)
	}
	r.mu.Lock()
	last, v := r.stats, r.verdict
	r.mu.Unlock()
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
		return nil, errgrpc.ToGRPC(fmt.Errorf("metrics of %s: %w", r.id, err))
	}
	return &taskAPI.StatsResponse{Stats: typeurl.MarshalProto(settled)}, nil
}

// snapshot stores the metrics of a run whose cgroup may soon be gone. The old metrics
// stay if the cgroup is gone already.
func (s *Service) snapshot(ctx context.Context, r *run) {
	gone := func(e oom.Evidence) bool { return e.Gone }
	if slices.ContainsFunc(r.lastEvidence(), gone) {
		return
	}
	resp, err := s.TTRPCTaskService.Stats(ctx, &taskAPI.StatsRequest{ID: r.id})
	if err != nil || resp.Stats == nil {
		return // Stats itself returns the error when it is called
	}
	r.mu.Lock()
	r.stats, r.statsAt = resp.Stats, time.Now()
	r.mu.Unlock()
}

// snappedSince reports whether the stored metrics were read at that time or later.
func (r *run) snappedSince(then time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats != nil && !r.statsAt.Before(then)
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
