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
// Unknown, 255. So a tombstone of a deleted container stays as long as its bundle is
// there, and answers another containerd than the one that deleted it, which
// sees no difference. So does one whose Delete took longer than containerd waits, or
// was answered while it was stopped: it asks again, and would make a second TaskExit
// of its own to a "not found".

// tombstone is a deleted task that may still be asked for.
type tombstone struct {
	*run
	by     uint64                  // the instance of the containerd that has the answer, or anyInstance for none
	answer *taskAPI.DeleteResponse // with the true status
	// deadline is when whoever asked for the delete gives up; zero for never. It may
	// not have read the answer by then: one that has removes the bundle.
	deadline time.Time
}

// late reports whether who called then may have given up before the answer is there:
// the time limit of the call begins there, and the way uses some of it.
func late(ctx context.Context, since time.Time) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Since(since) > end.Sub(since)/2
}

// addTombstone puts down the tombstone of a container that was deleted.
func (s *Service) addTombstone(b *tombstone) {
	s.forgetRemoved()
	if !b.exited() { // it was never started: there is no exit to lose
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tombstones[b.id] = b
}

// forgetRemoved forgets the containers whose bundles are gone, which bounds the
// others by the bundles that there are.
func (s *Service) forgetRemoved() {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.tombstones))
	s.mu.Unlock()
	for _, b := range all {
		if b.removed() {
			s.forgetTombstone(b)
		}
	}
}

func (s *Service) forgetTombstone(b *tombstone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tombstones[b.id] == b {
		delete(s.tombstones, b.id)
	}
}

func (b *tombstone) removed() bool {
	_, err := os.Lstat(b.bundle)
	return errors.Is(err, fs.ErrNotExist)
}

// tombstone returns a container that another containerd than this one has deleted, and
// has not done with; else nil.
func (s *Service) tombstone(id, exec string) *tombstone {
	s.mu.Lock()
	b := s.tombstones[id]
	s.mu.Unlock()
	if b == nil || exec != "" || s.queue.fwd.Instance() == b.by && !b.overdue() {
		return nil
	}
	if b.removed() {
		s.forgetTombstone(b)
		return nil
	}
	return b
}

// overdue is true if whoever asked for the delete has given up, if it has not read
// the answer: a containerd that was stopped finds its time over before that.
func (b *tombstone) overdue() bool {
	return !b.deadline.IsZero() && time.Now().After(b.deadline)
}

// passTombstone lets a containerd that asks see the exit, when it has received the OOM.
func (s *Service) passTombstone(ctx context.Context, b *tombstone, since time.Time) error {
	b.requestedBy(s.queue.fwd.Instance())
	return s.pass(ctx, b.run, since)
}

func (b *tombstone) connect() *taskAPI.ConnectResponse {
	return &taskAPI.ConnectResponse{ShimPid: uint32(os.Getpid()), TaskPid: b.answer.Pid}
}

func (b *tombstone) state() *taskAPI.StateResponse {
	return &taskAPI.StateResponse{
		ID: b.id, Bundle: b.bundle, Pid: b.answer.Pid, Status: tasktypes.Status_STOPPED,
		ExitStatus: b.reportStatus(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt,
	}
}

func (b *tombstone) wait() *taskAPI.WaitResponse {
	return &taskAPI.WaitResponse{ExitStatus: b.reportStatus(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt}
}

func (b *tombstone) deleted() *taskAPI.DeleteResponse {
	return &taskAPI.DeleteResponse{
		Pid: b.answer.Pid, ExitStatus: b.reportStatus(b.answer.ExitStatus), ExitedAt: b.answer.ExitedAt,
	}
}
