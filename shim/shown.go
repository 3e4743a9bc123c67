//go:build linux

package shim

import (
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oomwitness/oomwitness/oom"
)

// A pod can ask for an exit status of its own where the verdict is OOM. It is
// shown on every road, or the true one is: whatever somebody has seen once, nobody
// sees otherwise later, a dead shim's remover included. So a verdict that comes
// after the bound, when the true status was shown, changes it no more; its TaskOOM
// is published all the same. What is known of an exit inside the shim, its record
// and its log line is the true status.

// asIsLead is the part of the bound, from its end, in which a verdict comes too
// late for another status: it is the time to put that on record before the true
// one is shown.
const asIsLead = 10

// shownStatus gives what is shown of an exit.
func shownStatus(status, code int, v oom.Verdict, asIs bool) int {
	if code == 0 || asIs || !v.OOMKilled {
		return status
	}
	return code
}

// shows gives the status to show of the true one, and is bound by it: without a
// verdict the true one is shown from now on.
func (r *run) shows(status uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asIsLocked()
	return uint32(shownStatus(int(status), r.policy.exitCode, r.verdict, r.asIs))
}

// showAsIs has the true status shown, unless the verdict is there.
func (s *Service) showAsIs(r *run) {
	r.mu.Lock()
	r.asIsLocked()
	r.mu.Unlock()
	s.keep(r)
}

// endedAt gives the time to show of init's end for upstream's, on every road the
// same: that of its reaping. Upstream notes the moment in which it comes to it, which
// on a busy node is seconds later, and none of a container that was never started.
func (r *run) endedAt(upstream *timestamppb.Timestamp) *timestamppb.Timestamp {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.exit == nil || upstream.AsTime().IsZero() {
		return upstream
	}
	return protobuf.ToTimestamp(r.exit.At)
}

func (r *run) asIsLocked() {
	r.asIs = r.asIs || r.verdict.Rule == 0
}
