//go:build linux

// Package shim decorates containerd's runc shim so that a container that the
// OOM killer ended is announced as such before its exit can be seen.
//
// [Service] wraps upstream's task service. For each container it keeps a run,
// keyed by the Create request's ID; when init exits, the run's barrier reads
// the evidence, decides the verdict, publishes TaskOOM if it is due and waits
// for containerd's acknowledgement, and only then lets Wait, State, TaskExit
// and Delete show the exit.
package shim

import (
	"context"
	"fmt"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs/pkg/errgrpc"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"

	tasktypes "github.com/containerd/containerd/api/types/task"
	upstream "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
)

var _ upstream.TTRPCService = (*Service)(nil)

// Options are what a Service stands on.
type Options struct {
	Config config.Config
	// Sources of evidence, best first. Without any, no exit is ever called OOM.
	Sources []oom.Source
	// Hierarchy says where the memory controller is: oom.FindHierarchy.
	Hierarchy func() (oom.Hierarchy, error)
	// Forwarder takes the events to containerd. The Service closes it.
	Forwarder Forwarder
	// Exits gives the exits of all the shim's children, in the moment in which
	// they are reaped. It may be nil: then the end of a container is learned from
	// upstream's service, a little later.
	Exits <-chan runc.Exit
	// Shutdown ends the shim. The Service holds it up, within the bound, until
	// containerd has taken all events.
	Shutdown shutdown.Service
	// Upstream makes the service that is decorated.
	Upstream func(context.Context, upstream.Publisher, shutdown.Service) (taskAPI.TTRPCTaskService, error)
}

// Service is upstream's task service with the exit barrier. What it does not
// override passes through.
type Service struct {
	taskAPI.TTRPCTaskService

	ctx     context.Context // of the whole shim; carries namespace and logger
	cfg     config.Config
	sources []oom.Source
	queue   *queue
	counts  *tally
	// hierarchy says where the memory controller is.
	hierarchy func() (oom.Hierarchy, error)
	guards    *guard

	mu       sync.Mutex // guards what follows
	runs     map[string]*run
	graves   map[string]*buried // deleted, and the bundle still there
	byPid    map[int]*run
	spawning int               // Creates and Starts under way
	early    map[int]runc.Exit // exits seen while some are
	owed     map[string][]*run // whose TaskDeletes upstream has yet to publish, by ID
	paid     chan struct{}     // closed when none is owed
}

// NewService builds the decorated service and starts it.
func NewService(ctx context.Context, o Options) (*Service, error) {
	counts := newTally()
	paid := make(chan struct{})
	close(paid)
	s := &Service{
		ctx: ctx, cfg: o.Config, sources: o.Sources, counts: counts,
		hierarchy: o.Hierarchy,
		guards:    newGuard(ctx, counts),
		queue:     newQueue(ctx, o.Forwarder, counts),
		runs:      make(map[string]*run),
		graves:    make(map[string]*buried),
		byPid:     make(map[int]*run),
		early:     make(map[int]runc.Exit),
		owed:      make(map[string][]*run),
		paid:      paid,
	}
	inner, err := o.Upstream(ctx, &publisher{s}, o.Shutdown)
	if err != nil {
		_ = s.queue.close()
		return nil, err
	}
	s.TTRPCTaskService = inner
	o.Shutdown.RegisterCallback(s.flush)
	o.Shutdown.RegisterCallback(func(context.Context) error { return s.guards.close() })
	if o.Exits != nil {
		go s.reaped(o.Exits)
	}
	return s, nil
}

// RegisterTTRPC implements upstream's TTRPCService, so that the shim serves the
// decorated service.
func (s *Service) RegisterTTRPC(server *ttrpc.Server) error {
	taskAPI.RegisterTTRPCTaskService(server, s)
	return nil
}

// Create makes the container and arms the evidence before init can run.
func (s *Service) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	p, err := s.policyOf(req.Bundle)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := p.groupInSpec(req.Bundle); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("set %s of %s: %w", oomGroupFile, req.ID, err))
	}
	r := newRun(req.ID, req.Bundle, p)
	r.made(s.queue.fwd.Life())
	old := s.enter(r)
	defer s.spawn()()
	resp, err := s.TTRPCTaskService.Create(ctx, req)
	if err != nil {
		s.leave(r, old)
		_ = r.close() // it holds nothing yet
		return nil, err
	}
	if err := noteBinary(req.Bundle); err != nil {
		s.trouble(r, "program not noted", err)
	}
	faultPoint("created")
	if resp.Pid != 0 { // a restored container has no init until Start
		s.adopt(ctx, r, int(resp.Pid))
	}
	return resp, nil
}

// Start starts init or an exec. A container restored from a checkpoint has its
// init from here on, so this is where it is armed.
func (s *Service) Start(ctx context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	r := s.run(req.ID)
	if req.ExecID != "" || r == nil || r.initPid() != 0 {
		return s.TTRPCTaskService.Start(ctx, req)
	}
	defer s.spawn()()
	resp, err := s.TTRPCTaskService.Start(ctx, req)
	if err == nil {
		s.adopt(ctx, r, int(resp.Pid))
	}
	return resp, err
}

// Kill notes that containerd asked for init's stop, before it is sent.
func (s *Service) Kill(ctx context.Context, req *taskAPI.KillRequest) (*emptyResponse, error) {
	r := s.run(req.ID)
	if r == nil || req.ExecID != "" || req.Signal == 0 {
		return s.TTRPCTaskService.Kill(ctx, req)
	}
	answered := r.askStop(signalOf(req.Signal))
	if answered == nil {
		return s.TTRPCTaskService.Kill(ctx, req)
	}
	go s.keep(r) // beside the signal, which must not wait for a disk
	resp, err := s.TTRPCTaskService.Kill(ctx, req)
	answered(err == nil)
	if err != nil {
		go s.keep(r)
	}
	return resp, err
}

// Wait is the first road by which an exit can be seen.
func (s *Service) Wait(ctx context.Context, req *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	since := time.Now()
	if b := s.grave(req.ID, req.ExecID); b != nil {
		if err := s.tell(ctx, b, since); err != nil {
			return nil, err
		}
		return b.wait(), nil
	}
	r := s.asked(req.ID, req.ExecID)
	resp, err := s.TTRPCTaskService.Wait(ctx, req)
	if err != nil || r == nil {
		return resp, err
	}
	s.settle(r, oom.Exit{Pid: r.initPid(), Status: int(resp.ExitStatus), At: resp.ExitedAt.AsTime()})
	if err := s.pass(ctx, r, since); err != nil {
		return nil, err
	}
	resp.ExitStatus = r.shows(resp.ExitStatus)
	return resp, nil
}

// stateBound is how long State is held back. containerd gives it 2 s
// (plugins/services/tasks/local.go); where that does not do, CRI's recovery fails
// and the container runs for ever, as it says.
const stateBound = time.Second

// State is the second. A container whose exit may not be seen by then is still
// running: whoever asked goes on with Wait.
func (s *Service) State(ctx context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	soon, cancel := context.WithTimeout(ctx, stateBound)
	defer cancel()
	resp, err := s.state(ctx, soon, req)
	if err != nil && soon.Err() != nil && ctx.Err() == nil && resp != nil {
		return &taskAPI.StateResponse{
			ID: resp.ID, Bundle: resp.Bundle, Pid: resp.Pid, Status: tasktypes.Status_RUNNING,
			Stdin: resp.Stdin, Stdout: resp.Stdout, Stderr: resp.Stderr, Terminal: resp.Terminal, ExecID: resp.ExecID,
		}, nil
	}
	return resp, err
}

// state is held back until the other context ends. What it gives with an error
// is who the container is, not how it ended.
func (s *Service) state(ctx, hold context.Context, req *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	now := time.Now()
	if b := s.grave(req.ID, req.ExecID); b != nil {
		b.asks(s.queue.fwd.Life())
		if err := s.tell(hold, b, b.stateSince(now)); err != nil {
			return &taskAPI.StateResponse{ID: b.id, Bundle: b.bundle, Pid: b.answer.Pid}, err
		}
		return b.state(), nil
	}
	r := s.asked(req.ID, req.ExecID)
	resp, err := s.TTRPCTaskService.State(ctx, req)
	if err != nil || r == nil || resp.Status != tasktypes.Status_STOPPED {
		return resp, err
	}
	s.settle(r, oom.Exit{Pid: int(resp.Pid), Status: int(resp.ExitStatus), At: resp.ExitedAt.AsTime()})
	if err := s.pass(hold, r, r.stateSince(now)); err != nil {
		return resp, err
	}
	resp.ExitStatus = r.shows(resp.ExitStatus)
	return resp, nil
}

// Delete is the last (the third is TaskExit, in publisher.go). It also waits
// until containerd has taken the TaskExit, which upstream loses when the shim
// is shut down right after.
func (s *Service) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	since, life := time.Now(), s.queue.fwd.Life()
	if b := s.grave(req.ID, req.ExecID); b != nil {
		if err := s.tell(ctx, b, since); err != nil {
			return nil, err
		}
		return b.deleted(), nil
	}
	r := s.asked(req.ID, req.ExecID)
	if r == nil {
		return s.TTRPCTaskService.Delete(ctx, req)
	}
	stopped, err := s.exitTaken(ctx, r, since)
	if err != nil {
		return nil, err
	}
	s.owe(r)
	resp, err := s.TTRPCTaskService.Delete(ctx, req)
	if err != nil {
		s.pay(r)
		return nil, err
	}
	faultPoint("deleted")
	if !stopped {
		err = s.deleted(ctx, r, resp, since)
	}
	s.leave(r, nil)
	s.guards.forget(r.id)
	r.remove()
	if late(ctx, since) { // nobody may have the answer: it is for whoever asks again
		life = anyLife
	}
	b := &buried{run: r, by: life, answer: resp}
	s.bury(b)
	if cerr := r.close(); cerr != nil {
		log.G(ctx).WithError(cerr).WithField("container", r.id).Warn("close the evidence")
	}
	if err != nil {
		return nil, err
	}
	return b.deleted(), nil
}

// deleted is for a delete that found init running when it was asked for, and
// ended when it was carried out: the answer is the first sight of the exit, and
// waits like any other. A container that was never started has no exit.
func (s *Service) deleted(ctx context.Context, r *run, resp *taskAPI.DeleteResponse, since time.Time) error {
	at := resp.ExitedAt.AsTime()
	if at.IsZero() {
		return nil
	}
	s.settle(r, oom.Exit{Pid: int(resp.Pid), Status: int(resp.ExitStatus), At: at})
	if err := s.pass(ctx, r, since); err != nil {
		return err
	}
	return s.taken(ctx, r, since)
}

// exitTaken says whether the container has stopped, and waits in that case until
// its exit was shown and its TaskExit taken, or the bound has passed.
func (s *Service) exitTaken(ctx context.Context, r *run, since time.Time) (stopped bool, err error) {
	st, err := s.state(ctx, ctx, &taskAPI.StateRequest{ID: r.id})
	if err != nil || st.Status != tasktypes.Status_STOPPED {
		return false, ctx.Err() // not stopped: Delete itself says what is wrong
	}
	return true, s.taken(ctx, r, since)
}

// taken waits until containerd has the TaskExit, or the bound has passed.
func (s *Service) taken(ctx context.Context, r *run, since time.Time) error {
	bound := time.NewTimer(time.Until(r.until(since, s.cfg.Bound)))
	defer bound.Stop()
	select {
	case <-r.exitTaken:
	case <-bound.C:
		log.G(ctx).WithFields(log.Fields{"container": r.id, "total": s.counts.add("delete unannounced")}).
			Warn("containerd did not take the exit within the bound: the delete goes on")
	case <-ctx.Done():
		return errgrpc.ToGRPC(ctx.Err())
	}
	return nil
}

// pass waits at the barrier, and until the containerd that asks since then has
// heard of the OOM.
func (s *Service) pass(ctx context.Context, r *run, since time.Time) error {
	select {
	case <-r.shown:
		return s.heard(ctx, r, since)
	case <-ctx.Done():
		return errgrpc.ToGRPC(ctx.Err())
	}
}

// flush holds up the shim's end until containerd has taken all events, within
// the bound: those that upstream has yet to publish, and those in the queue.
func (s *Service) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Bound)
	defer cancel()
	s.mu.Lock()
	paid := s.paid
	s.mu.Unlock()
	select {
	case <-paid:
	case <-ctx.Done():
	}
	if err := s.queue.flush(ctx); err != nil {
		log.G(s.ctx).WithError(err).Error("containerd did not take all events before the shim's end")
	}
	return nil
}
