//go:build linux

// Package shim decorates containerd's runc shim so that a container that the OOM killer
// ended is reported as such before its exit can be seen.
//
// Begin to read at [Service], upstream's task service with one container for each Create
// request's ID. A method of [Service] is one input and one answer (calls.go, delete.go);
// what upstream publishes comes by publisher.go. container.conclude (verdict.go) collects
// the evidence of an exit and has oom.Decide find the verdict. Who may see the exit when,
// and in which order events go out, is decided in internal/exit; effects.go carries that
// out by internal/delivery. internal/policy is what a pod's annotations change,
// internal/bundle what is in a bundle. [Manager] starts shims, and removes what a dead
// shim has left by internal/deadshim.
package shim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/pkg/stdio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	upstream "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
	"github.com/oomwitness/oomwitness/shim/internal/policy"
)

var _ upstream.TTRPCService = (*Service)(nil)

// Options are what a Service stands on.
type Options struct {
	Config config.Config
	// Sources of evidence, best first. Without any, no exit is ever called OOM.
	Sources []oom.Source
	// Hierarchy returns where the memory controller is: oom.FindHierarchy.
	Hierarchy func() (oom.Hierarchy, error)
	// Client sends the events to containerd. The Service closes it.
	Client delivery.Client
	// Exits has the exits of all the shim's children, in the moment in which they are
	// reaped: of several that end at once, [Service.Reap] sees one before. Exits may be nil:
	// then the end of a container is learned from upstream's service, a little later.
	Exits <-chan runc.Exit
	// Shutdown ends the shim. The Service holds it up, within the hold timeout, until
	// containerd has acked all events.
	Shutdown shutdown.Service
	// Upstream makes the service that is decorated.
	Upstream func(context.Context, upstream.Publisher, shutdown.Service) (taskAPI.TTRPCTaskService, error)
	// Spool is the folder of the node's finished exits: exits.DefaultDir; "" for none.
	Spool string
}

// Service is upstream's task service with the exit gate. What it does not
// override passes through.
type Service struct {
	taskAPI.TTRPCTaskService

	ctx     context.Context // of the whole shim; carries namespace and logger
	cfg     config.Config
	sources []oom.Source
	queue   *delivery.Queue
	counts  *counters
	// hierarchy returns where the memory controller is.
	hierarchy func() (oom.Hierarchy, error)
	groups    *policy.Enforcer
	spool     string // the folder of finished exits, "" for none

	// mu guards what follows, and the fields of containers that say so. It is held for
	// a look at memory only: never over I/O, and never while a Loop, whose goroutine
	// takes it, is waited for. The other locks are delivery's, of the queue and of the
	// client. No lock is taken while another is held.
	mu         sync.Mutex
	containers map[string]*container   // tombstones included
	loops      map[*container]struct{} // whose loops may still run
	byPid      map[int]*container
}

// NewService builds the decorated service and starts it.
func NewService(ctx context.Context, o Options) (*Service, error) {
	counts := new(counters)
	s := &Service{
		ctx: ctx, cfg: o.Config, sources: o.Sources, counts: counts,
		hierarchy:  o.Hierarchy,
		spool:      o.Spool,
		groups:     policy.NewEnforcer(ctx, o.Hierarchy, counts.add),
		queue:      delivery.NewQueue(ctx, o.Client, counts.add),
		containers: make(map[string]*container),
		loops:      make(map[*container]struct{}),
		byPid:      make(map[int]*container),
	}
	inner, err := o.Upstream(ctx, &publisher{s}, o.Shutdown)
	if err != nil {
		_ = s.queue.Close()
		return nil, err
	}
	s.TTRPCTaskService = inner
	o.Shutdown.RegisterCallback(s.flush)
	if o.Exits != nil {
		go func() {
			for e := range o.Exits {
				s.reaped(e, 0)
			}
		}()
	}
	return s, nil
}

// Create makes the container and arms the evidence before init can run.
func (s *Service) Create(ctx context.Context, req *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	sp, _ := bundle.ReadSpec(req.Bundle) // upstream refuses a spec that cannot be read
	p, err := policy.Of(sp, s.cfg, s.hierarchy)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if req.Options, err = bootstrap.RuncOptions(req.Options, sp.CgroupsPath); err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if err := p.InSpec(req.Bundle); err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("set memory.oom.group of %s: %w", req.ID, err))
	}
	c := s.newContainer(req.ID, req.Bundle, p)
	c.pod = exits.PodOf(sp.Annotations)
	c.stdio = stdio.Stdio{Stdin: req.Stdin, Stdout: req.Stdout, Stderr: req.Stderr, Terminal: req.Terminal}
	old := s.enter(c)
	began := time.Now()
	resp, err := s.TTRPCTaskService.Create(ctx, req)
	if err != nil {
		s.leave(c, old)
		_ = c.close() // it holds nothing yet
		return nil, s.bornDead(err, 0, began)
	}
	if err := bundle.NoteBinary(req.Bundle); err != nil {
		c.trouble("program not noted", err)
	}
	if err := bootstrap.NoteAddress(req.Bundle); err != nil {
		c.trouble("address not noted", err)
	}
	if old != nil { // a tombstone
		old.loop.Retire()
	}
	c.reach("created")
	if resp.Pid != 0 { // a restored container has no init until Start
		s.adopt(ctx, c, int(resp.Pid))
	}
	return resp, nil
}

// Start starts init or an exec. A container restored from a checkpoint has its
// init from here on, so this is where it is armed.
func (s *Service) Start(ctx context.Context, req *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	began, before, pid := time.Now(), bpf.BootNow(), 0
	c := s.container(req.ID)
	restored := req.ExecID == "" && c != nil && !c.deleted.Load() && c.initPid() == 0
	if req.ExecID == "" && c != nil && !restored { // its init is there since Create
		began, pid = time.Time{}, c.initPid()
	}
	resp, err := s.TTRPCTaskService.Start(ctx, req)
	if err != nil {
		return nil, s.bornDead(err, pid, began)
	}
	if restored {
		s.adopt(ctx, c, int(resp.Pid))
	}
	if req.ExecID != "" && c != nil {
		c.execed(resp.Pid, before, false)
	}
	return resp, nil
}

// Kill notes that containerd asked for init's stop, before it is sent. One whose
// exit is released is not there any more, and nothing else of its container: CRI sends
// a SIGKILL ahead of each Delete, and upstream starts runc for the same answer.
func (s *Service) Kill(ctx context.Context, req *taskAPI.KillRequest) (*emptyResponse, error) {
	c := s.container(req.ID)
	if c == nil || c.deleted.Load() || req.ExecID != "" || req.Signal == 0 {
		return s.TTRPCTaskService.Kill(ctx, req)
	}
	if c.policy.OwnPids && c.is((*exit.State).Released) {
		if req.All { // runc finds nobody to kill, and is content
			return &emptyResponse{}, nil
		}
		return nil, errgrpc.ToGRPCf(errdefs.ErrNotFound, "process already finished")
	}
	answered := c.askStop(unix.Signal(req.Signal))
	if answered == nil {
		return s.TTRPCTaskService.Kill(ctx, req)
	}
	c.loop.Touch() // beside the signal, which must not wait for a disk
	resp, err := s.TTRPCTaskService.Kill(ctx, req)
	answered(err == nil)
	if err != nil {
		c.loop.Touch()
	}
	return resp, err
}

// Update changes limits, and leaves memory.oom.group at the value of the policy.
func (s *Service) Update(ctx context.Context, req *taskAPI.UpdateTaskRequest) (*emptyResponse, error) {
	if c := s.container(req.ID); c != nil {
		resources, err := c.policy.InUpdate(req.Resources)
		if err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("resources of %s: %w", c.id, err))
		}
		req = &taskAPI.UpdateTaskRequest{ID: req.ID, Annotations: req.Annotations, Resources: resources}
	}
	return s.TTRPCTaskService.Update(ctx, req)
}

// flush holds up the shim's end until containerd has acked all events, within the hold
// timeout: those that the loops hold, and those in the queue.
func (s *Service) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HoldTimeout)
	defer cancel()
	s.mu.Lock()
	loops := slices.Collect(maps.Keys(s.loops))
	s.mu.Unlock()
	var err error
	for _, c := range loops {
		if werr := c.loop.Wait(ctx, (*exit.State).Drained); !errors.Is(werr, exit.ErrEnded) {
			err = errors.Join(err, werr)
		}
	}
	if err = errors.Join(err, s.queue.Flush(ctx)); err != nil {
		log.G(s.ctx).WithError(err).Error("containerd did not ack all events before the shim's end")
	}
	for _, c := range loops {
		c.loop.Close()
	}
	return nil
}

// instance returns the current containerd instance.
func (s *Service) instance() exit.Instance { return exit.Instance(s.queue.Instance()) }

// NewClient returns the client of containerd's events endpoint at a ttrpc address.
func NewClient(address string) delivery.Client { return delivery.NewClient(address) }
