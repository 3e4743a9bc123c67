//go:build linux

package shim

import (
	"context"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
)

// An acknowledgement says that containerd has taken a TaskOOM, not that anyone
// has heard it: what containerd takes before CRI has subscribed is forgotten. A
// containerd that starts does this, in this order:
//
//  1. it connects to each shim and asks for its Pids;
//  2. CRI subscribes, while the events endpoint begins to listen: a TaskOOM that
//     was waiting may be taken before or after;
//  3. CRI asks for each task's State, and deletes those that have stopped.
//
// So a TaskOOM counts as heard if it was sent to a containerd that had asked for
// the task before, or that made it. Where one asks that has not heard it, it is
// published again, ahead of the answer.

// audience is what is known of who listens. Guarded by run.mu.
type audience struct {
	// life of the containerd that made the container, or has asked for it since.
	life uint64
	// silent is set when another has connected, and has not asked for it yet.
	silent bool
	// first is when another than the one that made the container asked first.
	first time.Time
	// known is set at the first Connect, which whoever made the container sends.
	known bool
	// met is set by a Connect. It is one that begins to wait, if a Wait comes next
	// (core/runtime/v2/shim.go), and one that starts, if it goes on with Pids.
	met bool
	// loading is set by the Connect of another containerd, which goes on with Pids.
	loading bool
	// recovers is set when another has connected, in life recoverer, and no Wait of
	// its has been answered.
	recovers  bool
	recoverer uint64
	// begun is closed when a containerd that starts has asked for the task, or has
	// had the bound for it; nil where none has started. asked closes it.
	begun <-chan struct{}
	asked context.CancelFunc
}

// made notes who made the container.
func (r *run) made(life uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.audience = audience{life: life}
}

// connected notes a Connect. It gives true where an acknowledgement does not
// count any more, since whoever has heard may be gone.
func (r *run) connected(life uint64) (void bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own := !r.audience.known && life == r.audience.life
	r.audience.known = true
	switch {
	case own:
		return false
	case life == r.audience.life, r.audience.silent && life == r.audience.recoverer:
		// containerd connects ahead of each Wait, too. The events that wait for the
		// one that starts must not wait for it anew.
		r.audience.met = true
		return false
	}
	r.audience.loading = true
	return r.silenceLocked(life)
}

// askedForPids notes that, and gives true as connected does. Whoever starts wants
// to know whether there is anything in the container, and not what.
func (r *run) askedForPids(life uint64) (void, starts bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	starts = r.audience.met || r.audience.loading
	void = r.audience.met && r.silenceLocked(life)
	r.audience.loading = false
	return void, starts
}

// silenceLocked is for a containerd that starts: nobody listens yet.
func (r *run) silenceLocked(life uint64) (void bool) {
	r.audience.silent, r.audience.met = true, false
	r.audience.recovers, r.audience.recoverer = true, life
	begun, asked := context.WithTimeout(context.Background(), r.bound)
	r.audience.begun, r.audience.asked = begun.Done(), asked
	void = r.acked && r.oom.life != life
	r.acked = r.acked && !void
	return void
}

// asks notes that a containerd asks for the task.
func (r *run) asks(life uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.audience.silent {
		r.audience.first = time.Now()
		r.audience.asked()
	}
	r.audience.life, r.audience.silent, r.audience.met = life, false, false
}

// recovered notes that a containerd asks for the state, and says whether that is
// one that recovers a container of CRI and has yet to wait for it.
func (r *run) recovered(life uint64) bool {
	if !r.policy.waited {
		return false
	}
	r.asks(life)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.audience.recovers && time.Since(r.audience.first) < recovery
}

// showed notes that a Wait was answered in a life of containerd.
func (r *run) showed(life uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if life == r.audience.recoverer {
		r.audience.recovers = false
	}
}

// until gives the time up to which a call that came at since may be held back. A
// containerd that starts is held back once, not once on each road: CRI gives a
// container 10 s in all to be recovered (internal/cri/server/restart.go), and
// calls it running for ever where that does not do.
func (r *run) until(since time.Time, bound time.Duration) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.audience.first
	if r.shownAt.After(first) && !first.IsZero() {
		first = r.shownAt
	}
	if !first.IsZero() && first.Before(since) {
		since = first
	}
	return since.Add(bound)
}

// stateSince gives from when on an answer of State may be held back at this stage.
// The containerd that made the container has been, by the barrier: what Wait has
// shown it must not seem to run.
func (r *run) stateSince(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.audience.first.IsZero() {
		return time.Time{}
	}
	return now
}

// unbegun gives what is closed when the containerd that starts listens, or has had
// the bound for it, and nil where there is nothing to wait for.
func (r *run) unbegun() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.audience.begun == nil || opened(r.audience.begun) {
		return nil
	}
	return r.audience.begun
}

// missed reports whether a containerd has acked the TaskOOM before anyone was
// subscribed, and somebody is by now: who has asked for the task; or, where nobody
// has within the hold timeout, a client that only subscribes, as Docker does.
func (r *run) missed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.verdict.OOMKilled || r.oom == nil || !opened(r.oom.taken) || r.oom.heard {
		return false
	}
	if r.audience.silent {
		return !r.oom.late && r.oom.life == r.audience.recoverer && opened(r.audience.begun)
	}
	return r.oom.life == r.audience.life
}

// listening gives the function that says whether what is sent from now on is
// heard in a life of containerd. Nothing is known of what is no run's.
func (r *run) listening() func(life uint64) bool {
	if r == nil {
		return func(uint64) bool { return false }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.audience
	return func(life uint64) bool { return !now.silent && now.life == life }
}

// Connect is a new containerd's first call for each container.
func (s *Service) Connect(ctx context.Context, req *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	if b := s.grave(req.ID, ""); b != nil {
		b.connected(s.queue.fwd.Life())
		return b.connect(), nil
	}
	if r := s.run(req.ID); r != nil && r.connected(s.queue.fwd.Life()) {
		s.keep(r)
	}
	return s.TTRPCTaskService.Connect(ctx, req)
}

// asked notes that containerd asks for a container's task by a road, and gives
// the run, or nil.
func (s *Service) asked(id, exec string) *run {
	r := s.run(id)
	if r == nil || exec != "" {
		return nil
	}
	r.asks(s.queue.fwd.Life())
	return r
}

// heard waits until the containerd that asks, since then, has heard of a
// TaskOOM that is due, or the bound has passed.
func (s *Service) heard(ctx context.Context, r *run, since time.Time) error {
	bound := time.NewTimer(time.Until(r.until(since, s.cfg.Bound)))
	defer bound.Stop()
	for ctx.Err() == nil { // one that is gone does not listen
		it := s.unheard(r)
		if it == nil {
			return nil
		}
		select {
		case <-it.taken:
			if r.acknowledge(it) {
				s.keep(r)
			}
		case <-bound.C:
			return nil // it stays in the queue; the barrier has said so the first time
		case <-ctx.Done():
		}
	}
	return errgrpc.ToGRPC(ctx.Err())
}

// acknowledge notes that a TaskOOM was taken, and gives true where that is news
// and whoever took it listens.
func (r *run) acknowledge(it *item) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := it.heard && it.life == r.audience.life && !r.audience.silent && !r.acked
	r.acked = r.acked || news
	return news
}

// unheard gives the TaskOOM that the containerd that is there has yet to hear,
// published again if it was taken before, or nil.
func (s *Service) unheard(r *run) *item {
	life := s.queue.fwd.Life()
	r.asks(life) // who waits for it still listens, if the connection broke meanwhile
	r.mu.Lock()
	it, v := r.oom, r.verdict
	r.mu.Unlock()
	switch {
	case !v.OOMKilled || it == nil:
		return nil
	case !opened(it.taken):
		return it
	case it.heard && it.life == life:
		return nil
	case it.late && it.life == life && !r.policy.waited:
		// Published for a client that only subscribes, which asks at the TaskExit.
		s.received(r)
		return nil
	}
	log.G(s.ctx).WithFields(log.Fields{"container": r.id, "total": s.counts.add("TaskOOM again")}).
		Info("a containerd asks that has not heard of the OOM: TaskOOM is published again")
	return s.publishAgain(r, it)
}

// received notes in the record that the client which asks has received the TaskOOM, so
// that the delete action publishes no other.
func (s *Service) received(r *run) {
	r.mu.Lock()
	news := !r.acked
	r.acked = true
	r.mu.Unlock()
	if news {
		s.keep(r)
	}
}
