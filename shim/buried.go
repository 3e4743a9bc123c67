//go:build linux

package shim

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
)

// containerd removes a bundle only after the answer to Delete, and when it has
// run the shim's binary with "delete" (core/runtime/v2/shim.go); CRI notes the
// exit after that. One that dies in between leaves a bundle to the next, which
// asks the shim for the container's Pids and, finding none, calls the exit
// Unknown, 255. So a deleted container is kept for as long as its bundle is
// there, and told of to another containerd than the one that deleted it, which
// sees no difference. So is one whose Delete took longer than containerd waits, or
// was answered while it was stopped: it asks again, and would give a second TaskExit
// of its own to a "not found".

// buried is a container that was deleted.
type buried struct {
	*run
	by     uint64                  // the life of the containerd that has the answer, or anyLife for none
	answer *taskAPI.DeleteResponse // with the true status
	// deadline is when whoever asked for the delete gives up; zero for never. It may
	// not have read the answer by then: one that has removes the bundle.
	deadline time.Time
}

// late says whether who called then may have given up before the answer is there:
// the time that it gave begins there, and the way takes some of it.
func late(ctx context.Context, since time.Time) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Since(since) > end.Sub(since)/2
}

// bury keeps a container that was deleted.
func (s *Service) bury(b *buried) {
	s.forgetRemoved()
	if !b.exited() { // it was never started: there is no exit to lose
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.graves[b.id] = b
}

// forgetRemoved forgets the containers whose bundles are gone, which bounds the
// others by the bundles that there are.
func (s *Service) forgetRemoved() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.graves))
	s.mu.Unlock()
	for _, b := range all {
		if b.removed() {
			s.forget(b)
		}
	}
}

func (s *Service) forget(b *buried) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.graves[b.id] == b {
		delete(s.graves, b.id)
	}
}

func (b *buried) removed() bool {
	_, err := os.Lstat(b.bundle)
	return errors.Is(err, fs.ErrNotExist)
}

// grave gives a container that another containerd than this one has deleted, and
// has not done with; else nil.
func (s *Service) grave(id, exec string) *buried {
	s.mu.Lock()
	b := s.graves[id]
	s.mu.Unlock()
	if b == nil || exec != "" || s.queue.fwd.Life() == b.by && !b.overdue() {
		return nil
	}
	if b.removed() {
		s.forget(b)
		return nil
	}
	return b
}

// overdue says that whoever asked for the delete has given up, if it has not read
// the answer: a containerd that was stopped finds its time over before that.
func (b *buried) overdue() bool {
	return !b.deadline.IsZero() && time.Now().After(b.deadline)
}

// tell lets a containerd that asks see the exit, when it has heard of the OOM.
func (s *Service) tell(ctx context.Context, b *buried, since time.Time) error {
	b.asks(s.queue.fwd.Life())
	return s.pass(ctx, b.run, since)
}

func (b *buried) connect() *taskAPI.ConnectResponse {
	return &taskAPI.ConnectResponse{ShimPid: uint32(os.Getpid()), TaskPid: b.answer.Pid}
}

func (b *buried) state() *taskAPI.StateResponse {
	return &taskAPI.StateResponse{
		ID: b.id, Bundle: b.bundle, Pid: b.answer.Pid, Status: tasktypes.Status_STOPPED,
		ExitStatus: b.shows(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt,
	}
}

func (b *buried) wait() *taskAPI.WaitResponse {
	return &taskAPI.WaitResponse{ExitStatus: b.shows(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt}
}

func (b *buried) deleted() *taskAPI.DeleteResponse {
	return &taskAPI.DeleteResponse{
		Pid: b.answer.Pid, ExitStatus: b.shows(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt,
	}
}
