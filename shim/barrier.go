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

// keptWait is how long a verdict waits until the exit is on record, for whoever
// removes a dead shim's container.
const keptWait = time.Second

// settle starts a run's barrier, once, with the first account of its exit.
func (s *Service) settle(r *run, e oom.Exit) {
	if !r.setExit(e) {
		return
	}
	kept := make(chan struct{})
	go func() { // beside the evidence, which must not wait for a disk
		defer close(kept)
		s.keep(r)
	}()
	go s.barrier(r, e, kept)
}

// barrier is the order of events between init's end and the first sight of it:
// read, have the exit recorded, decide, publish TaskOOM, record the verdict, have
// the TaskOOM acknowledged, show. The last metrics, which say nothing of the exit,
// are read while containerd has the one or the other. Where a hint has found that
// init is a victim, the TaskOOM was published then (see the hints), and what is left
// of it here is to have it acknowledged.
//
// A step may hang, or the node be so slow that it seems to. So when the bound
// has passed the exit is shown, whatever the step; but the barrier goes on, and
// a TaskOOM that it finds due is published all the same.
func (s *Service) barrier(r *run, e oom.Exit, kept <-chan struct{}) {
	faultPoint("reaped")
	r.reach("evidence")
	watchdog := time.AfterFunc(s.cfg.Bound, func() { s.showLate(r) })
	defer watchdog.Stop()
	if r.policy.exitCode != 0 {
		late := time.AfterFunc(s.cfg.Bound-s.cfg.Bound/asIsLead, func() { s.showAsIs(r) })
		defer late.Stop()
	}
	defer close(r.settled)

	<-r.armed
	all := s.read(r)
	faultPoint("read")
	select {
	case <-kept:
	case <-time.After(keptWait): // a disk that hangs must not keep the TaskOOM
	}
	r.reach("answers to stops")
	r.asking.Wait() // one that came too late has stopped nothing
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
	foretold := it != nil && opened(it.taken)
	if foretold {
		r.acknowledge(it)
	} else if v.OOMKilled { // while containerd takes it
		runtime.Gosched() // the queue goes first
		r.reach("metrics")
		s.snapshot(s.ctx, r)
	}
	// The record is written before the acknowledgement, which may never come,
	// and once more when it has.
	r.reach("record")
	s.keep(r)
	faultPoint("recorded")
	r.reach("containerd's acknowledgement")
	taken := it != nil && first(it.taken, r.shown, s.ctx.Done())
	if taken {
		faultPoint("acknowledged")
		if r.acknowledge(it) {
			s.keep(r)
		}
	}
	faultPoint("before the exit is shown")
	r.show()
	faultPoint("shown")
	took := time.Since(e.At)
	runtime.Gosched() // whoever waits for the exit goes first
	logVerdict(s.ctx, r.id, e, v, taken, int(r.shows(uint32(e.Status))), took)
	if !v.OOMKilled || foretold {
		r.reach("metrics")
		s.snapshot(s.ctx, r)
	}
}

// first says whether c is closed, after waiting for it or for one of the others.
func first(c, or, and <-chan struct{}) bool {
	select {
	case <-c:
	case <-or:
	case <-and:
	}
	return opened(c)
}

// showLate shows an exit whose barrier has not passed within the bound.
func (s *Service) showLate(r *run) {
	if opened(r.shown) {
		return
	}
	log.G(s.ctx).WithFields(log.Fields{
		"container": r.id, "bound": s.cfg.Bound.String(), "waits_for": r.reached(), "total": s.counts.add("bound passed"),
	}).Warn("exit barrier: the bound has passed, the exit is shown")
	r.show()
}

// keep writes what is known of a run into its bundle.
func (s *Service) keep(r *run) {
	r.keeping.Lock()
	defer r.keeping.Unlock()
	if r.deleted { // the bundle is being removed
		return
	}
	if err := writeRecord(r.bundle, r.record()); err != nil {
		s.trouble(r, "record not written", err)
	}
}

// read takes the last reading of the evidence.
func (s *Service) read(r *run) []oom.Evidence {
	found, err := r.look()
	if found.dispute != "" {
		log.G(s.ctx).WithFields(log.Fields{"container": r.id, "dispute": found.dispute, "total": s.counts.add("evidence disputed")}).
			Error("exit barrier: the sources of evidence disagree")
	}
	if err != nil {
		s.weaker(r, err, found.evidence)
	}
	return found.evidence
}

// weaker says of a source that could not be read. A cgroup that systemd was
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
		Log(level, "exit barrier: "+what)
}

// trouble logs and counts what makes a verdict weaker, and never stops an exit.
func (s *Service) trouble(r *run, what string, err error) {
	log.G(s.ctx).WithError(err).WithFields(log.Fields{"container": r.id, "total": s.counts.add(what)}).
		Warn("exit barrier: " + what)
}

func logVerdict(ctx context.Context, id string, e oom.Exit, v oom.Verdict, taken bool, shown int, took time.Duration) {
	fields := log.Fields{ // tier is "" where the ledger did not decide
		"container":    id,
		"pid":          e.Pid,
		"status":       e.Status,
		"oom":          v.OOMKilled,
		"cause":        v.Cause,
		"init_victim":  v.Init.String(),
		"kills":        v.Kills,
		"ended":        v.Ended,
		"rule":         v.Rule,
		"evidence":     v.Evidence,
		"tier":         v.Tier,
		"cgroup_gone":  v.Gone,
		"acknowledged": taken,
		"took":         took.Round(time.Microsecond).String(),
	}
	if shown != e.Status {
		fields["shown"] = shown
	}
	log.G(ctx).WithFields(fields).Info("verdict")
}
