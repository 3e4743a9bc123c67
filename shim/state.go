//go:build linux

package shim

import (
	"context"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/pkg/protobuf"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	// stateTimeout is how long State is held back. containerd gives it 2 s
	// (plugins/services/tasks/local.go); where that does not do, CRI's recovery
	// fails, and CRI reports the container as running for ever.
	stateTimeout = time.Second

	// recovery is what CRI gives a container to be recovered, and all of them
	// together since it recovers them at the same time
	// (internal/cri/server/restart.go).
	recovery = 10 * time.Second
)

// State is the second. A container whose exit may not be seen by then is still
// running: whoever asked goes on with Wait.
//
// So is, for a containerd that starts, one of CRI's whose exit its Wait has not
// returned. What runs CRI waits for, and handles the exit with time of its own, and
// again if that fails. What has stopped it deletes on the spot, and what it can't
// delete within the 10 s for all is reported as running for ever.
func (s *Service) State(ctx context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	if r := s.run(req.ID); r != nil && req.ExecID == "" && r.recovering(s.queue.fwd.Instance()) {
		return s.stateToWait(ctx, r, req)
	}
	soon, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	resp, err := s.state(ctx, soon, req)
	if err != nil && soon.Err() != nil && ctx.Err() == nil && resp != nil {
		return running(resp), nil
	}
	return resp, err
}

// stateToWait is the state for whoever waits next. A TaskOOM is under way by then.
func (s *Service) stateToWait(ctx context.Context, r *run, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	resp, err := s.stateNow(ctx, r, req)
	if err != nil || resp.Status != tasktypes.Status_STOPPED {
		return resp, err
	}
	s.settle(r, exitIn(resp))
	s.republishUndelivered(r)
	return running(resp), nil
}

// state is held back until the other context ends. What it returns with an error
// is who the container is, not how it ended.
func (s *Service) state(ctx, hold context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	now := time.Now()
	if b := s.tombstone(req.ID, req.ExecID); b != nil {
		b.requestedBy(s.queue.fwd.Instance())
		if err := s.passTombstone(hold, b, b.stateSince(now)); err != nil {
			return &taskAPI.StateResponse{ID: b.id, Bundle: b.bundle, Pid: b.answer.Pid}, err
		}
		return b.state(), nil
	}
	r := s.requested(req.ID, req.ExecID)
	resp, err := s.stateNow(ctx, r, req)
	if err != nil || r == nil || resp.Status != tasktypes.Status_STOPPED {
		return resp, err
	}
	s.settle(r, exitIn(resp))
	if err := s.pass(hold, r, r.stateSince(now)); err != nil {
		return resp, err
	}
	resp.ExitStatus, resp.ExitedAt = r.reportStatus(resp.ExitStatus), r.endedAt(resp.ExitedAt)
	return resp, nil
}

// stateNow is upstream's, or while upstream deletes the container what is known
// of its exit: upstream would answer when runc is done.
func (s *Service) stateNow(ctx context.Context, r *run, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	if r != nil {
		if resp := r.stateInDelete(); resp != nil {
			return resp, nil
		}
	}
	return s.TTRPCTaskService.State(ctx, req)
}

// stateInDelete returns the state of a container that has ended and is being
// deleted, nil of others.
func (r *run) stateInDelete() *taskAPI.StateResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deletion == nil || r.exit == nil {
		return nil
	}
	return &taskAPI.StateResponse{
		ID: r.id, Bundle: r.bundle, Pid: uint32(r.pid), Status: tasktypes.Status_STOPPED,
		Stdin: r.stdio.Stdin, Stdout: r.stdio.Stdout, Stderr: r.stdio.Stderr, Terminal: r.stdio.Terminal,
		ExitStatus: uint32(r.exit.Status), ExitedAt: protobuf.ToTimestamp(r.exit.At),
	}
}

// exitIn returns the exit in a state.
func exitIn(resp *taskAPI.StateResponse) oom.Exit {
	return oom.Exit{Pid: int(resp.Pid), Status: int(resp.ExitStatus), At: resp.ExitedAt.AsTime()}
}

// running returns the same state without the exit.
func running(resp *taskAPI.StateResponse) *taskAPI.StateResponse {
	return &taskAPI.StateResponse{
		ID: resp.ID, Bundle: resp.Bundle, Pid: resp.Pid, Status: tasktypes.Status_RUNNING,
		Stdin: resp.Stdin, Stdout: resp.Stdout, Stderr: resp.Stderr, Terminal: resp.Terminal, ExecID: resp.ExecID,
	}
}
