//go:build linux

package shim

import (
	"context"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// Pids answers with init for as long as the container has not been deleted. A
// containerd that starts throws away, with its exit, each shim that knows of no
// process (core/runtime/v2/shim_load.go, shouldCleanupShim). It gives each 5 s in
// all, and asks for no more than that: so it is not runc that is asked.
func (s *Service) Pids(ctx context.Context, req *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	if b := s.tombstone(req.ID, ""); b != nil {
		return initAlone(b.run), nil
	}
	r := s.run(req.ID)
	if r == nil || r.initPid() == 0 {
		return s.TTRPCTaskService.Pids(ctx, req)
	}
	void, starts := r.askedForPids(s.queue.fwd.Instance())
	if void {
		s.checkpoint(r)
	}
	if !r.exited() && !starts { // else there is no need to run runc, which may take its time
		resp, err := s.TTRPCTaskService.Pids(ctx, req)
		if err == nil && len(resp.Processes) > 0 {
			return resp, nil
		}
		// None: init has just ended, and may not have been reaped yet.
		if err != nil && !r.exited() && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			return nil, err
		}
	}
	return initAlone(r), nil
}

func initAlone(r *run) *taskAPI.PidsResponse {
	return &taskAPI.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: uint32(r.initPid())}}}
}
