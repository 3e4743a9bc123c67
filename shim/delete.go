//go:build linux

package shim

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

const (
	// deleteBound is how long a delete may take that nobody waits for any more.
	deleteBound = time.Minute
	// settleWait is how long a delete waits for the last metrics.
	settleWait = time.Second
)

// deletion is a delete under way. It goes on when the caller has given up: on a busy
// node, where containerd's 10 s are not enough, a runc that is killed each time would
// never get it done. Another caller joins it.
type deletion struct {
	done chan struct{}
	err  error // set before done is closed
}

// Delete removes a container that has ended, or an exec. It also waits until containerd
// has acked the TaskExit, which upstream loses when the shim is shut down right after.
func (s *Service) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	since := time.Now()
	a := s.asking(req.ID, req.ExecID)
	if a == nil {
		return s.TTRPCTaskService.Delete(ctx, req)
	}
	stopped := s.stopped(ctx, a)
	oomStatus, err := false, error(nil)
	if stopped {
		if _, oomStatus, err = a.loop.Answer(ctx, exit.DeleteCall, a.by); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	if a.deleted {
		return a.removedAnswer(oomStatus), nil
	}
	d, mine := a.beginDelete()
	if mine {
		go s.carryOut(ctx, a, d, since, stopped)
	}
	select {
	case <-d.done:
		if d.err != nil {
			return nil, d.err
		}
		return a.removedAnswer(a.is((*exit.State).ReportsOOM)), nil
	case <-ctx.Done():
		return nil, errgrpc.ToGRPC(ctx.Err())
	}
}

// stopped reports whether the container has ended.
func (s *Service) stopped(ctx context.Context, a *asking) bool {
	if a.exitKnown() != nil {
		return true
	}
	st, err := s.TTRPCTaskService.State(ctx, &taskAPI.StateRequest{ID: a.id})
	if err != nil || st.Status != tasktypes.Status_STOPPED {
		return a.exitKnown() != nil // not stopped: upstream's Delete itself says what is wrong
	}
	a.exited(oom.Exit{Pid: int(st.Pid), Status: int(st.ExitStatus), At: st.ExitedAt.AsTime()})
	return true
}

// removedAnswer returns the answer to Delete.
func (c *container) removedAnswer(oomStatus bool) *taskAPI.DeleteResponse {
	status, at := c.ended(oomStatus)
	return &taskAPI.DeleteResponse{Pid: uint32(c.initPid()), ExitStatus: status, ExitedAt: at}
}

// carryOut deletes a container that had stopped, or had not, when an instance asked for
// it.
func (s *Service) carryOut(asked context.Context, a *asking, d *deletion, since time.Time, stopped bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(asked), deleteBound)
	defer cancel()
	c := a.container
	if stopped { // the last metrics are read while there is a cgroup
		c.awaitSettled(ctx)
	}
	resp, err := s.TTRPCTaskService.Delete(ctx, &taskAPI.DeleteRequest{ID: c.id})
	if err != nil {
		c.loop.Do(func(st *exit.State) { st.EndDelete(false, 0) })
		d.end(err)
		return
	}
	c.mu.Lock()
	c.answer = resp
	c.mu.Unlock()
	c.reach("deleted")
	if at := resp.ExitedAt.AsTime(); !stopped && !at.IsZero() {
		// The answer is the first sight of the exit, and waits like any other.
		c.exited(oom.Exit{Pid: int(resp.Pid), Status: int(resp.ExitStatus), At: at})
		_, _, err = c.loop.Answer(ctx, exit.DeleteCall, a.by)
	}
	c.deleted.Store(true)
	c.loop.Settle(ctx) // nothing is written into a bundle that is being removed
	by := a.by
	if late(asked, since) || err != nil { // nobody may have the answer: then it is for the next caller
		by = 0
	}
	c.loop.Do(func(st *exit.State) { st.EndDelete(true, by) })
	if end, ok := asked.Deadline(); ok { // who has read the answer by then has removed the bundle
		time.AfterFunc(time.Until(end), func() { c.loop.Do((*exit.State).Unanswered) })
	}
	s.retire(c)
	if cerr := c.close(); cerr != nil {
		log.G(ctx).WithError(cerr).WithField("container", c.id).Warn("close the evidence")
	}
	if err != nil {
		err = errgrpc.ToGRPC(err)
	}
	d.end(err)
}

// end has all callers go that wait for the delete.
func (d *deletion) end(err error) {
	d.err = err
	close(d.done)
}

// awaitSettled waits for the last metrics.
func (c *container) awaitSettled(ctx context.Context) {
	select {
	case <-c.settled:
	case <-time.After(settleWait):
		log.G(ctx).WithFields(log.Fields{"container": c.id, "waits_for": c.waitsFor.Load(), "total": c.s.counts.add("delete unsettled")}).
			Warn("the exit gate has not done all within the hold timeout: the delete goes on, the last metrics may be missing")
	}
}

// late reports whether a caller that called then may have given up before the answer is
// there: the time that it gave begins there, and the way takes some of it.
func late(ctx context.Context, since time.Time) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Since(since) > end.Sub(since)/2
}

// beginDelete returns the delete that is under way, or a new one, which is the caller's
// to carry out.
func (c *container) beginDelete() (d *deletion, mine bool) {
	c.loop.Do(func(st *exit.State) {
		if mine = st.BeginDelete(); mine {
			c.deletion = &deletion{done: make(chan struct{})}
		}
		d = c.deletion
	})
	return d, mine
}

// forgotten reports whether the bundle of a tombstone is gone: then the tombstone goes.
func (s *Service) forgotten(c *container) bool {
	_, err := os.Lstat(c.bundle)
	gone := errors.Is(err, fs.ErrNotExist)
	if gone {
		s.forget(c)
	}
	return gone
}
