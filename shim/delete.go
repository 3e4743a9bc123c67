//go:build linux

package shim

import (
	"context"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
)

// deleteTimeout is how long a delete may take that nobody waits for any more.
const deleteTimeout = time.Minute

// deletion is a delete under way. It goes on when whoever asked has given it up:
// on a busy node, where containerd's 10 s don't do, a runc that is killed each
// time would never get it done. Whoever asks again joins in.
type deletion struct {
	done chan struct{}
	// resp and err are set before done is closed.
	resp *taskAPI.DeleteResponse
	err  error
	// joined is true if somebody has asked again. Guarded by run.mu.
	joined bool
}

// Delete is the last (the third is TaskExit, in publisher.go). It also waits
// until containerd has acked the TaskExit, which upstream loses when the shim
// is shut down right after.
func (s *Service) Delete(ctx context.Context, req *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	since := time.Now()
	if b := s.tombstone(req.ID, req.ExecID); b != nil {
		if err := s.passTombstone(ctx, b, since); err != nil {
			return nil, err
		}
		return b.deleted(), nil
	}
	instance := s.queue.fwd.Instance()
	r := s.requested(req.ID, req.ExecID)
	if r == nil {
		return s.TTRPCTaskService.Delete(ctx, req)
	}
	stopped, err := s.waitExitAckedIfStopped(ctx, r, since)
	if err != nil {
		return nil, err
	}
	d, mine := r.beginDelete()
	if mine {
		go s.carryOut(ctx, r, d, instance, since, stopped)
	}
	select {
	case <-d.done:
		return d.resp, d.err
	case <-ctx.Done():
		return nil, errgrpc.ToGRPC(ctx.Err())
	}
}

// carryOut deletes a container that had stopped, or had not, when it was asked
// for by a containerd instance.
func (s *Service) carryOut(asked context.Context, r *run, d *deletion, instance uint64, since time.Time, stopped bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(asked), deleteTimeout)
	defer cancel()
	if stopped { // the last metrics are read while there is a cgroup
		select {
		case <-r.settled:
		case <-time.After(checkpointWait):
			log.G(ctx).WithFields(log.Fields{"container": r.id, "waits_for": r.reached(), "total": s.counts.add("delete unsettled")}).
				Warn("the exit gate has not done all within the hold timeout: the delete goes on, the last metrics may be missing")
		}
	}
	s.owe(r)
	resp, err := s.TTRPCTaskService.Delete(ctx, &taskAPI.DeleteRequest{ID: r.id})
	if err != nil {
		s.pay(r)
		r.endDelete(d, nil, err)
		return
	}
	faultPoint("deleted")
	if !stopped {
		err = s.deleted(ctx, r, resp, since)
	}
	resp.ExitedAt = r.endedAt(resp.ExitedAt)
	b := &tombstone{run: r, by: instance, answer: resp}
	b.deadline, _ = asked.Deadline()
	// Nobody may have the answer: then it is for whoever asks again.
	if late(asked, since) || r.joined(d) {
		b.by = anyInstance
	}
	s.leave(r, nil)
	s.groups.forget(r.id)
	r.remove()
	s.addTombstone(b)
	if cerr := r.close(); cerr != nil {
		log.G(ctx).WithError(cerr).WithField("container", r.id).Warn("close the evidence")
	}
	r.endDelete(d, b.deleted(), err)
}

// beginDelete returns the delete that is under way, or a new one, which is the
// caller's to carry out.
func (r *run) beginDelete() (d *deletion, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.deletion; d != nil {
		d.joined = true
		return d, false
	}
	r.deletion = &deletion{done: make(chan struct{})}
	return r.deletion, true
}

func (r *run) joined(d *deletion) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.joined
}

// endDelete returns the answer to all who wait. A delete that failed may be tried
// again.
func (r *run) endDelete(d *deletion, resp *taskAPI.DeleteResponse, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if resp == nil {
		r.deletion = nil
	}
	d.resp, d.err = resp, err
	if err != nil {
		d.resp = nil
	}
	close(d.done)
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
	return s.waitExitAcked(ctx, r, since)
}

// waitExitAckedIfStopped reports whether the container has stopped, and waits in that case until
// its exit was released and its TaskExit acked, or the hold timeout has passed.
func (s *Service) waitExitAckedIfStopped(ctx context.Context, r *run, since time.Time) (stopped bool, err error) {
	st, err := s.state(ctx, ctx, &taskAPI.StateRequest{ID: r.id})
	if err != nil || st.Status != tasktypes.Status_STOPPED {
		return false, ctx.Err() // not stopped: Delete itself says what is wrong
	}
	return true, s.waitExitAcked(ctx, r, since)
}

// waitExitAcked waits until containerd has the TaskExit, or the hold timeout has passed.
func (s *Service) waitExitAcked(ctx context.Context, r *run, since time.Time) error {
	timeout := time.NewTimer(time.Until(r.holdUntil(since, s.cfg.HoldTimeout)))
	defer timeout.Stop()
	select {
	case <-r.exitAcked:
	case <-timeout.C:
		log.G(ctx).WithFields(log.Fields{"container": r.id, "total": s.counts.add("delete unannounced")}).
			Warn("containerd did not ack the exit within the hold timeout: the delete goes on")
	case <-ctx.Done():
		return errgrpc.ToGRPC(ctx.Err())
	}
	return nil
}
