package collect

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/why"
)

const (
	// recentHours is the time over which a container's ends are counted.
	recentHours = 24
	// clockSlack is how much later than the exit the kill may seem to be: the ledger's
	// clock is CLOCK_BOOTTIME, and the exit's the wall clock.
	clockSlack = 2 * time.Second
	// ledger is the ledger's name in verdicts.
	ledger = "ledger"
	// tierC is the tier of a ledger that sees the victims alone.
	tierC = "C"
)

func verdictOf(e *exits.Exit) *why.Verdict {
	v := &e.Verdict
	return &why.Verdict{
		Ended: string(v.Ended), Cause: string(v.Cause), InitVictim: v.Init.String(), Kills: v.Kills, Rule: string(v.Rule),
		Evidence: v.Evidence, Tier: v.Tier, CgroupGone: v.Gone, Acked: e.Acked,
	}
}

func memoryOf(m *exits.Memory) why.Memory {
	if m == nil {
		return why.Memory{}
	}
	return why.Memory{Peak: m.Peak, Limit: m.Limit, Unlimited: m.Unlimited}
}

// sender says who sent the SIGKILL, or why that is not known.
func sender(r *why.Run, e *exits.Exit) {
	switch v := &e.Verdict; {
	case v.Sender != nil:
		s := v.Sender
		r.Sender = &why.Process{PID: s.PID, Comm: s.Comm, UID: &s.UID, Cgroup: s.CgroupPath, At: &s.At}
		if s.PID == 0 {
			r.Sender.Kernel, r.Sender.Comm, r.Sender.UID = true, "the kernel", nil
		}
	case v.Ended != oom.EndedSignal:
	case e.Status != 128+9:
		r.Lacks("sender", "senders of SIGKILL alone are recorded; the program may have sent this signal to itself")
	case v.Evidence != ledger:
		r.Lacks("sender", "no ledger was in force")
	case v.Sent == oom.Yes:
		r.Lacks("sender", "a process sent init a SIGKILL, and the record of the process is gone")
	case v.Sent == oom.No:
		r.Lacks("sender", "no other process has sent init a SIGKILL: init has exited with 137 itself")
	default:
		r.Lacks("sender", "the ledger in force does not record who sends SIGKILL")
	}
}

// addEvent adds the newest OOM event with a victim in the run's container, not after its
// end.
func (s *Sources) addEvent(r *why.Run, end time.Time) {
	for i := range slices.Backward(s.Events) {
		e := &s.Events[i]
		if !end.IsZero() && e.Time.After(end.Add(clockSlack)) {
			continue
		}
		if takeEvent(r, e, end) {
			break
		}
	}
	s.lacksEvent(r)
}

// takeEvent has the run take what an OOM event says of the run's container, and reports
// whether the event has a victim there.
func takeEvent(r *why.Run, e *Event, end time.Time) bool {
	victims := victimsOf(e, r, end)
	if len(victims) == 0 {
		return false
	}
	one := e.OOMEvent
	one.Victims = victims
	if r.OOM == nil {
		r.OOM = &one
	} else if near(r.OOM.Time, one.Time) {
		complete(r.OOM, &one)
	}
	return true
}

// lacksEvent says what is not known of the OOM event of a run.
func (s *Sources) lacksEvent(r *why.Run) {
	killed := r.Verdict != nil && r.Verdict.Kills > 0
	switch {
	case r.OOM == nil && (killed || r.OOMKilled()):
		r.Lacks("oom_event", s.noEvent(r))
	case r.OOM == nil:
		return
	}
	s.lacksDetail(r)
}

// noEvent says why the OOM event of a run is not known.
func (s *Sources) noEvent(r *why.Run) string {
	if r.Verdict != nil && r.Verdict.Evidence != ledger {
		return "no ledger was in force: the counters of a cgroup name no process"
	}
	return cmp.Or(s.NoEvents, "no record of an OOM event names this container any more")
}

// lacksDetail says why the OOM event of a run, if there is one, lacks details.
func (s *Sources) lacksDetail(r *why.Run) {
	e := r.OOM
	if e == nil {
		return
	}
	detail := cmp.Or(s.Detail, "the ledger has not recorded it")
	switch {
	case e.Tier == tierC:
		detail = "a ledger of tier C does not see it"
	case r.Verdict != nil && !r.OOMKilled():
		detail = "a verdict keeps this only of the OOM kill that ended the container"
	}
	if len(e.Kinds) == 0 {
		r.Lacks("kinds", detail)
	}
	if len(e.Candidates) == 0 {
		r.Lacks("candidates", detail)
	}
	for _, v := range e.Victims {
		switch {
		case v.Lineage != "" || v.Init:
		case e.Tier == tierC:
			r.Lacks("lineage", "a ledger of tier C does not see the ancestors of a process")
		default:
			r.Lacks("lineage", "the ancestors of the process are not on record")
		}
	}
}

// limitOf names the cgroup whose limit was exceeded where the cause does not say whose
// cgroup it is, or says why that is not known.
func limitOf(r *why.Run, v *oom.Verdict) {
	if v.Cause != oom.CauseUnknown {
		return
	}
	if n := len(v.Victims); n > 0 && r.OOM != nil && v.Victims[n-1].Limit != 0 {
		last := v.Victims[n-1]
		r.OOM.LimitOf = cmp.Or(r.OOM.LimitOf, last.LimitPath, fmt.Sprintf("cgroup %d (removed)", last.Limit))
		return
	}
	switch {
	case v.Evidence != ledger:
		r.Lacks("cause", "no ledger was in force, and the counters of the cgroups do not say it")
	case v.Tier == tierC:
		r.Lacks("cause", "a ledger of tier C does not see it")
	default:
		r.Lacks("cause", "the ledger has no record of this kill any more")
	}
}

// near reports whether two times are of the same OOM event.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < clockSlack }

// victimsOf returns the victims of an OOM event that were in the run's container: by the
// container's ID, or, of a cgroup that was removed unseen, by init's PID at its end.
func victimsOf(e *Event, r *why.Run, end time.Time) (victims []why.Victim) {
	for i, v := range e.Victims {
		of := e.Of[i]
		byID := of.ID != "" && of.ID == r.Container.ID
		byPID := of.ID == "" && !end.IsZero() && v.PID != 0 && v.PID == r.PID && end.Sub(e.Time) < time.Minute
		if byID || byPID {
			victims = append(victims, v)
		}
	}
	return victims
}

// addRecent counts the ends of the same container of the same pod in the last day.
func (s *Sources) addRecent(r *why.Run, e *exits.Exit, now time.Time) {
	since := now.Add(-recentHours * time.Hour)
	n := &why.Recent{Hours: recentHours}
	for i := range s.Exits {
		o := &s.Exits[i]
		same := o.ID == e.ID
		if e.Pod != nil && o.Pod != nil {
			same = o.Pod.Namespace == e.Pod.Namespace && o.Pod.Name == e.Pod.Name && o.Pod.Container == e.Pod.Container
		}
		if !same || o.At.Before(since) {
			continue
		}
		n.Runs++
		if o.Verdict.OOMKilled {
			n.OOM++
		}
	}
	r.Recent = n
}

// eventOf returns the newest OOM event of an exit's verdict, with the victims that the
// verdict names; nil where the evidence only counted.
func eventOf(x *exits.Exit) *why.OOMEvent {
	v := &x.Verdict
	if len(v.Victims) == 0 {
		return nil
	}
	last := v.Victims[len(v.Victims)-1]
	e := &why.OOMEvent{Time: last.At.UTC(), Cause: string(last.Cause), Tier: v.Tier}
	for _, one := range v.Victims {
		if one.Seq != last.Seq {
			continue
		}
		e.Victims = append(e.Victims, why.Victim{
			PID: one.PID, Comm: one.Comm, Init: one.Lineage == oom.LineageInit || one.PID == x.Pid, Lineage: string(one.Lineage),
			RSS: new(one.Anon + one.File + one.Shmem), Anon: &one.Anon, File: &one.File, Shmem: &one.Shmem, Swap: one.Swap,
		})
	}
	e.Killed = len(e.Victims)
	AddMemory(e, v.Memory)
	return e
}

// complete adds what the agent knows of an OOM event, and a verdict does not.
func complete(e, more *why.OOMEvent) {
	e.ID, e.LimitOf, e.Killed = more.ID, more.LimitOf, max(e.Killed, more.Killed)
	if e.LimitBytes == nil {
		e.LimitBytes = more.LimitBytes
	}
	if e.UsageBytes == nil {
		e.UsageBytes = more.UsageBytes
	}
	if len(e.Kinds) == 0 {
		e.Kinds = more.Kinds
	}
	if len(e.Candidates) == 0 {
		e.Candidates = more.Candidates
	}
	for i := range e.Victims {
		for _, v := range more.Victims {
			if v.Comm == e.Victims[i].Comm && (v.PID == 0 || v.PID == e.Victims[i].PID) {
				e.Victims[i].OOMScoreAdj, e.Victims[i].SharedMemory = v.OOMScoreAdj, v.SharedMemory
			}
		}
	}
}

// unknownUsage is how oom.Memory names a usage that the ledger did not see.
const unknownUsage = "usage"

// AddMemory adds what filled the memory, with the usage and the limit of that moment.
func AddMemory(e *why.OOMEvent, m *oom.Memory) {
	if m == nil {
		return
	}
	if m.Limit > 0 {
		e.LimitBytes = &m.Limit
	}
	if !slices.Contains(m.Unknown, unknownUsage) {
		e.UsageBytes = &m.Usage
	}
	for _, k := range []why.Kind{
		{Name: why.KindAnon, Bytes: m.Anon}, {Name: why.KindFile, Bytes: m.File},
		{Name: why.KindShmem, Bytes: m.Shmem}, {Name: why.KindKernel, Bytes: m.Kernel},
		{Name: why.KindSwap, Bytes: m.Swap},
	} {
		if k.Bytes > 0 {
			e.Kinds = append(e.Kinds, k)
		}
	}
	for _, c := range m.Candidates {
		e.Candidates = append(e.Candidates, why.Candidate{PID: c.PID, Comm: c.Comm, RSS: c.RSS, Swap: c.Swap, OOMScoreAdj: c.ScoreAdj})
	}
}
