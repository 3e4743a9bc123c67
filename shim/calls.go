//go:build linux

package shim

import (
	"context"
	"errors"
	"os"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// containerd removes a bundle only after the answer to Delete, and when it has run the
// shim's binary with "delete" (core/runtime/v2/shim.go); CRI notes the exit after that.
// A containerd that dies in between leaves a bundle to the next one, which asks the shim
// for the container's Pids and, finding none, calls the exit Unknown, 255. So a deleted
// container is kept as a tombstone for as long as its bundle is there, for everybody but
// the instance that has the answer.

// stateBound is how long State is held. containerd gives State 2 s
// (plugins/services/tasks/local.go); where that is not enough, CRI's recovery fails and
// the container seems to run for ever.
const stateBound = time.Second

// connectBound is how long a Connect waits for a checkpoint. A containerd that starts
// gives each shim 5 s for Connect and Pids together (core/runtime/v2/shim_load.go).
const connectBound = time.Second

// asking is a call of an instance for a container's task.
type asking struct {
	*container
	by      exit.Instance
	deleted bool // only the tombstone is left
}

// asking returns the call, nil where upstream's service is to answer: for an exec, and
// for a container that is not known, or that the instance has deleted.
func (s *Service) asking(id, exec string) *asking {
	c := s.container(id)
	if c == nil || exec != "" {
		return nil
	}
	by := s.instance()
	finds, deleted := c.loop.Asked(by)
	if !finds || deleted && s.forgotten(c) {
		return nil
	}
	return &asking{c, by, deleted}
}

// finds reports whether an instance that asks for no task yet finds the container.
func (s *Service) finds(c *container, by exit.Instance) bool {
	var finds, deleted bool
	c.loop.Do(func(st *exit.State) { finds, deleted = st.Finds(by), st.Deleted() })
	return finds && (!deleted || !s.forgotten(c))
}

// Wait waits for the end of init or of an exec.
func (s *Service) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	a := s.asking(req.ID, req.ExecID)
	if a == nil {
		return s.TTRPCTaskService.Wait(ctx, req)
	}
	// The loop hears of the end from the reaper or from upstream's TaskExit. Upstream's own Wait
	// comes after upstream has decoded the spec.
	_, oomStatus, err := a.loop.Answer(ctx, exit.WaitCall, a.by)
	if errors.Is(err, exit.ErrEnded) { // it was never started, and is deleted
		return s.TTRPCTaskService.Wait(ctx, req)
	}
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	status, at := a.ended(oomStatus)
	return &taskAPI.WaitResponse{ExitStatus: status, ExitedAt: at}, nil
}

// State returns the state of init or of an exec. A container whose exit may not be seen
// within a second is still running: the caller goes on with Wait.
func (s *Service) State(ctx context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	a := s.asking(req.ID, req.ExecID)
	if a == nil {
		return s.TTRPCTaskService.State(ctx, req)
	}
	held, cancel := context.WithTimeout(ctx, stateBound)
	defer cancel()
	if a.exitKnown() == nil {
		resp, err := s.TTRPCTaskService.State(ctx, req)
		if err == nil && resp.Status != tasktypes.Status_STOPPED || err != nil && !a.leaves(held, err) {
			return resp, err
		}
		if err == nil {
			a.exited(oom.Exit{Pid: int(resp.Pid), Status: int(resp.ExitStatus), At: resp.ExitedAt.AsTime()})
		}
	}
	reply, oomStatus, err := a.loop.Answer(held, exit.StateCall, a.by)
	if err != nil && ctx.Err() != nil {
		return nil, errgrpc.ToGRPC(ctx.Err())
	}
	resp := a.state()
	if err == nil && reply == exit.Exit {
		resp.Status = tasktypes.Status_STOPPED
		resp.ExitStatus, resp.ExitedAt = a.ended(oomStatus)
	}
	return resp, nil
}

// leaves reports whether an error of upstream says no more than that the container has
// ended: the exit is known by now, or a Delete has taken the task away, whose answer
// shows the exit. leaves waits for that answer.
func (c *container) leaves(ctx context.Context, err error) bool {
	if c.exitKnown() != nil || !isNotFound(err) {
		return c.exitKnown() != nil
	}
	ended := c.loop.Wait(ctx, func(st *exit.State) bool { return !st.Leaves() })
	return ended != nil || c.exitKnown() != nil
}

// isNotFound reports whether an error of upstream says NotFound. errgrpc.ToNative, which
// knows every code and detail, would be 29 KB more in every shim.
func isNotFound(err error) bool {
	return errors.Is(err, errdefs.ErrNotFound) || status.Code(err) == codes.NotFound
}

// state returns the state of a container that runs.
func (c *container) state() *taskAPI.StateResponse {
	return &taskAPI.StateResponse{
		ID: c.id, Bundle: c.bundle, Pid: uint32(c.initPid()), Status: tasktypes.Status_RUNNING,
		Stdin: c.stdio.Stdin, Stdout: c.stdio.Stdout, Stderr: c.stdio.Stderr, Terminal: c.stdio.Terminal,
	}
}

// Connect is a containerd's first call for each container, and comes ahead of each Wait.
func (s *Service) Connect(ctx context.Context, req *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	c := s.container(req.ID)
	if c == nil {
		return s.TTRPCTaskService.Connect(ctx, req)
	}
	by := s.instance()
	if !s.finds(c, by) {
		return s.TTRPCTaskService.Connect(ctx, req)
	}
	held, cancel := context.WithTimeout(ctx, connectBound)
	defer cancel()
	c.loop.Connected(held, by)
	return &taskAPI.ConnectResponse{ShimPid: uint32(os.Getpid()), TaskPid: uint32(c.initPid())}, nil
}

// Pids answers with init for as long as the container has not been deleted. A containerd
// that starts throws away, with its exit, each shim that knows of no process
// (core/runtime/v2/shim_load.go, shouldCleanupShim). It gives each 5 s in all, and asks
// for no more than that: so it is not runc that is asked.
func (s *Service) Pids(ctx context.Context, req *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	c := s.container(req.ID)
	if c == nil || c.initPid() == 0 {
		return s.TTRPCTaskService.Pids(ctx, req)
	}
	by := s.instance()
	if !s.finds(c, by) {
		return s.TTRPCTaskService.Pids(ctx, req)
	}
	var starts bool
	c.loop.Do(func(st *exit.State) { starts = st.PidsAsked(by) })
	if c.exitKnown() == nil && !starts { // else there is no need to run runc, which may take its time
		resp, err := s.TTRPCTaskService.Pids(ctx, req)
		if err == nil && len(resp.Processes) > 0 {
			return resp, nil
		}
		// None: init has just ended, and may not have been reaped yet.
		if err != nil && c.exitKnown() == nil && !isNotFound(err) {
			return nil, err
		}
	}
	return &taskAPI.PidsResponse{Processes: []*tasktypes.ProcessInfo{{Pid: uint32(c.initPid())}}}, nil
}
