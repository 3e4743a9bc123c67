//go:build linux

package shim

import (
	"github.com/containerd/containerd/v2/pkg/protobuf"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oomwitness/oomwitness/oom"
)

// A pod can ask for an exit status of its own where the verdict is OOM. It is
// reported on every API path, or the true one is: whatever somebody has seen once, nobody
// sees otherwise later, a dead shim's remover included. So a verdict that comes
// after the hold timeout, when the true status was reported, changes it no more; its TaskOOM
// is published all the same. What is known of an exit inside the shim, its record
// and its log line is the true status.

// trueStatusLead is the part of the hold timeout, from its end, in which a verdict comes too
// late for another status: it is the time to put that on record before the true
// one is reported.
const trueStatusLead = 10

// reportedStatus returns the exit status that the API shows.
func reportedStatus(status, code int, v oom.Verdict, trueStatus bool) int {
	if code == 0 || trueStatus || !v.OOMKilled {
		return status
	}
	return code
}

// reportStatus returns the reported status for a true one, and fixes it: without a
// verdict the true one is reported from now on.
func (r *run) reportStatus(status uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fixStatusLocked()
	return uint32(reportedStatus(int(status), r.policy.exitCode, r.verdict, r.trueStatus))
}

// reportTrueStatus has the true status reported, unless the verdict is there.
func (s *Service) reportTrueStatus(r *run) {
	r.mu.Lock()
	r.fixStatusLocked()
	r.mu.Unlock()
	s.checkpoint(r)
}

// endedAt returns the reported time of init's end for upstream's, on every API path the
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

func (r *run) fixStatusLocked() {
	r.trueStatus = r.trueStatus || r.verdict.Rule == 0
}
