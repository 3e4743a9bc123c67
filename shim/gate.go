//go:build linux

package shim

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/containerd/log"

	"github.com/oomwitness/oomwitness/oom"
)

// checkpointWait is how long a verdict waits until the exit is on record, for whoever
// removes a dead shim's container.
const checkpointWait = time.Second

// settle starts a run's exit gate, once, with the first account of its exit.
func (s *Service) settle(r *run, e oom.Exit) {
	if !r.setExit(e) {
		return
	}
	checkpointed := make(chan struct{})
	go func() { // beside the evidence, which must not wait for a disk
		defer close(checkpointed)
		s.checkpoint(r)
	}()
	go s.runGate(r, e, checkpointed)
}

// runGate is the order of events between init's end and the first sight of it:
// read, have the exit recorded, decide, publish TaskOOM, record the verdict, have
// the TaskOOM acked, release. The last metrics, which say nothing of the exit,
// are read while containerd has the one or the other. Where an OOM notification has found that
// init is a victim, the TaskOOM was published then (see notification.go), and what is left
// of it here is to have it acked.
//
// A step may hang, or the node be so slow that it seems to. So when the hold timeout
// has passed the exit is released, whatever the step; but the exit gate goes on, and
// a TaskOOM that it finds due is published all the same.
func (s *Service) runGate(r *run, e oom.Exit, checkpointed <-chan struct{}) {
	faultPoint("reaped")
	r.reach("evidence")
	watchdog := time.AfterFunc(s.cfg.HoldTimeout, func() { s.releaseAtTimeout(r) })
	defer watchdog.Stop()
	if r.policy.exitCode != 0 {
		late := time.AfterFunc(s.cfg.HoldTimeout-s.cfg.HoldTimeout/trueStatusLead, func() { s.reportTrueStatus(r) })
		defer late.Stop()
	}
	defer close(r.settled)

	<-r.armed
	all := s.read(r)
	faultPoint("read")
	select {
	case <-checkpointed:
	case <-time.After(checkpointWait): // a disk that hangs must not delay the TaskOOM
	}
	r.reach("answers to stops")
	r.stopsUnanswered.Wait() // one that came too late has stopped nothing
	v := oom.Decide(oom.Case{Exit: e, Evidence: all, Stops: r.asked(), Grace: s.cfg.Grace})
	r.mu.Lock()
	r.verdict = v
	r.mu.Unlock()

	faultPoint("decided")
	var it *item
	if v.OOMKilled {
		it = s.announceExit(r, v.Kills)
	}
	faultPoint("announced")
	early := it != nil && opened(it.acked)
	if early {
		r.noteAck(it)
	} else if v.OOMKilled { // while containerd handles the TaskOOM
		runtime.Gosched() // the queue goes first
		r.reach("metrics")
		s.snapshot(s.ctx, r)
	}
	// The record is written before the ack, which may never come,
	// and again when the ack has come.
	r.reach("record")
	s.checkpoint(r)
	faultPoint("recorded")
	r.reach("containerd's ack")
	acked := it != nil && first(it.acked, r.released, s.ctx.Done())
	if acked {
		faultPoint("acked")
		if r.noteAck(it) {
			s.checkpoint(r)
		}
	}
	faultPoint("before the release")
	r.release()
	faultPoint("released")
	took := time.Since(e.At)
	runtime.Gosched() // whoever waits for the exit goes first
	logVerdict(s.ctx, r.id, e, v, acked, int(r.reportStatus(uint32(e.Status))), took)
	if !v.OOMKilled || early {
		r.reach("metrics")
		s.snapshot(s.ctx, r)
	}
}

// first reports whether c is closed, after waiting for it or for one of the others.
func first(c, or, and <-chan struct{}) bool {
	select {
	case <-c:
	case <-or:
	case <-and:
	}
	return opened(c)
}

// releaseAtTimeout releases an exit that is still held when the hold timeout has passed.
func (s *Service) releaseAtTimeout(r *run) {
	if opened(r.released) {
		return
	}
	log.G(s.ctx).WithFields(log.Fields{
		"container": r.id, "hold_timeout": s.cfg.HoldTimeout.String(), "waits_for": r.reached(), "total": s.counts.add("hold timeout passed"),
	}).Warn("exit gate: the hold timeout has passed, the exit is released")
	r.release()
}

// checkpoint writes what is known of a run into its bundle.
func (s *Service) checkpoint(r *run) {
	r.checkpointing.Lock()
	defer r.checkpointing.Unlock()
	if r.deleted { // the bundle is being removed
		return
	}
	if err := writeRecord(r.bundle, r.record()); err != nil {
		s.trouble(r, "record not written", err)
	}
}

// read collects the evidence for the last time.
func (s *Service) read(r *run) []oom.Evidence {
	found, err := r.collect()
	if found.dispute != "" {
		log.G(s.ctx).WithFields(log.Fields{"container": r.id, "dispute": found.dispute, "total": s.counts.add("evidence disputed")}).
			Error("exit gate: the sources of evidence disagree")
	}
	if err != nil {
		s.weaker(r, err, found.evidence)
	}
	return found.evidence
}

// weaker logs and counts a source that could not be read. A cgroup that systemd was
// quick to remove, and a ledger that is not there, come at every exit of a node:
// while another source answers, they are worth a line once. What is wrong with one
// container's counters is worth one for each.
func (s *Service) weaker(r *run, err error, all []oom.Evidence) {
	what, level := "evidence not read", log.WarnLevel
	switch {
	case errors.Is(err, oom.ErrGone):
		what, level = "cgroup gone", log.InfoLevel
	case ledgerAway(err):
		what = "ledger not read"
	}
	total := s.counts.add(what)
	if what != "evidence not read" && total > 1 && len(all) > 0 && !all[0].Gone {
		level = log.DebugLevel
	}
	log.G(s.ctx).WithError(err).WithFields(log.Fields{"container": r.id, "total": total}).
		Log(level, "exit gate: "+what)
}

// trouble logs and counts what makes a verdict weaker, and never stops an exit.
func (s *Service) trouble(r *run, what string, err error) {
	log.G(s.ctx).WithError(err).WithFields(log.Fields{"container": r.id, "total": s.counts.add(what)}).
		Warn("exit gate: " + what)
}

func logVerdict(ctx context.Context, id string, e oom.Exit, v oom.Verdict, acked bool, reported int, took time.Duration) {
	fields := log.Fields{ // tier is "" where the ledger did not decide
		"container":   id,
		"pid":         e.Pid,
		"status":      e.Status,
		"oom":         v.OOMKilled,
		"cause":       v.Cause,
		"init_victim": v.Init.String(),
		"kills":       v.Kills,
		"ended":       v.Ended,
		"rule":        v.Rule,
		"evidence":    v.Evidence,
		"tier":        v.Tier,
		"cgroup_gone": v.Gone,
		"acked":       acked,
		"took":        took.Round(time.Microsecond).String(),
	}
	if reported != e.Status {
		fields["reported_status"] = reported
	}
	log.G(ctx).WithFields(fields).Info("verdict")
}
