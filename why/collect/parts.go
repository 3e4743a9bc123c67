package collect

import (
	"cmp"
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
)

func verdictOf(e *exits.Exit) *why.Verdict {
	v := &e.Verdict
	return &why.Verdict{
		Ended: string(v.Ended), Cause: string(v.Cause), InitVictim: v.Init.String(), Kills: v.Kills, Rule: int(v.Rule),
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
	case v.Ended != oom.EndedSignal:
	case e.Status != 128+9:
		r.Lacks("sender", "senders of SIGKILL alone are recorded; the program may have sent this signal to itself")
	case v.Evidence != ledger:
		r.Lacks("sender", "no ledger was in force")
	default:
		r.Lacks("sender", "the ledger has no record of a sender")
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
		if victims := victimsOf(e, r, end); len(victims) > 0 {
			one := e.OOMEvent
			one.Victims = victims
			r.OOM = &one
			break
		}
	}
	killed := r.Verdict != nil && r.Verdict.Kills > 0
	switch {
	case r.OOM == nil && (killed || r.OOMKilled()):
		r.Lacks("oom_event", cmp.Or(s.NoEvents, "the record of the OOM event is older than what the node keeps"))
	case r.OOM == nil:
		return
	}
	detail := cmp.Or(s.Detail, "the ledger has not recorded it")
	if r.OOM != nil && len(r.OOM.Kinds) == 0 {
		r.Lacks("kinds", detail)
	}
	if r.OOM != nil && len(r.OOM.Candidates) == 0 {
		r.Lacks("candidates", detail)
	}
}

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

// AddMemory adds what filled the memory.
func AddMemory(e *why.OOMEvent, m *oom.Memory) {
	if m == nil {
		return
	}
	for _, k := range []why.Kind{
		{Name: why.KindAnon, Bytes: m.Anon}, {Name: why.KindFile, Bytes: m.File},
		{Name: why.KindShmem, Bytes: m.Shmem}, {Name: why.KindKernel, Bytes: m.Kernel},
	} {
		if k.Bytes > 0 {
			e.Kinds = append(e.Kinds, k)
		}
	}
	for _, c := range m.Candidates {
		e.Candidates = append(e.Candidates, why.Candidate{PID: c.PID, Comm: c.Comm, RSS: c.RSS, Swap: c.Swap, OOMScoreAdj: c.ScoreAdj})
	}
}
