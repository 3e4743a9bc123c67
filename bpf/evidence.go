package bpf

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// killsLocked takes number, time and cause of the kills, and the victims.
func (p *probe) killsLocked(r reading) {
	p.last.Kills, p.last.Execs = r.kills, r.execs
	p.victimsLocked(r.victims)
	if r.kills == 0 {
		return
	}
	p.last.Last = asSetNow(p.last.Last, wallTime(r.cgroup.Last.BootNS))
	if now := (position{r.cgroup.Last.Seq, r.cgroup.Last.BootNS}); now != p.newest {
		p.newest = now
		p.newestLocked(r.cgroup.Last)
		p.memoryLocked(r)
	}
	if n := len(p.last.Victims); n > 0 && p.last.Victims[n-1].Seq == p.newest.seq {
		p.last.Victims[n-1].Cause = p.last.Cause // by the counters, in tier C
	}
}

// asSetNow returns the time of a kill: as it was known, but for a clock that was set since.
// Then the time is by the clock as it is set now, which the time of the exit is by too.
func asSetNow(known, now time.Time) time.Time {
	if known.Round(0).Sub(now.Round(0)).Abs() < sameMoment { // without the monotonic reading
		return known
	}
	return now
}

// victimsLocked takes the victims. One that was known keeps time and cause.
func (p *probe) victimsLocked(records []Record) {
	known := p.last.Victims
	p.last.Victims = nil
	for i := range records {
		v := p.victim(&records[i])
		was := slices.IndexFunc(known, func(k oom.Victim) bool {
			return k.Seq == v.Seq && k.PID == v.PID && k.StartTicks == v.StartTicks
		})
		if was >= 0 {
			v.At, v.Cause = asSetNow(known[was].At, v.At), known[was].Cause
		}
		p.last.Victims = append(p.last.Victims, v)
	}
}

// newestLocked takes the cause of the newest kill. Counters of a cgroup that is gone have the
// cause as far as they had been read.
func (p *probe) newestLocked(k Last) {
	p.last.Cause = p.place.cause(k.Constraint, k.Order, k.Domain)
	if p.last.Cause != oom.CauseUnknown || p.limits == nil {
		return
	}
	ev, err := p.limits.Read()
	known := err == nil || errors.Is(err, oom.ErrGone) && ev.Kills >= p.last.Kills
	if known && ev.Cause != oom.CauseNone {
		p.last.Cause = ev.Cause
	}
}

// memoryLocked takes what filled the memory at the newest kill.
func (p *probe) memoryLocked(r reading) {
	p.last.Memory = nil
	if r.memoryKnown {
		p.last.Memory = &r.memory
	}
}

// senderLocked answers who has sent init a SIGKILL, which stays true once it is.
func (p *probe) senderLocked(r reading) {
	switch {
	case p.last.Sent == oom.Yes:
	case !r.watched:
		p.last.Sent = oom.Unknown
	case r.sender.BootNS == 0:
		p.last.Sent = oom.No
	default:
		p.last.Sent = oom.Yes
		p.last.Sender = r.sender.sender(p.family.init).Evidence(p.source.h)
	}
}

// initLocked answers whether the OOM killer has ended init, which stays true once it has. The
// kernel drops the OOM killer's SIGKILL where init is ending already, by another SIGKILL or
// by itself, and another's SIGKILL where the OOM killer's has come first.
func (p *probe) initLocked(r reading) {
	switch {
	case r.killed && r.init.Flags&FlagDying == 0:
		p.last.Init, p.last.Sent, p.last.Sender = oom.Yes, oom.No, nil
		p.addInitLocked(r)
	case p.last.Init == oom.Yes:
	case p.last.Sent == oom.Yes, r.killed, p.last.Kills == 0, r.all, r.meta.Victims-p.tasks <= sureTasks:
		p.last.Init = oom.No
		p.tasks = r.meta.Victims
	default:
		p.last.Init = oom.Unknown // it may have been pushed out
	}
}

// addInitLocked adds init to the victims where the container's entry does not lead to it:
// init was in another cgroup, it was killed just before Arm and not reaped, or the entry
// was pushed out.
func (p *probe) addInitLocked(r reading) {
	inside := slices.Contains(r.cgroups, p.place.cgroup)
	if inside && p.last.Kills > 0 || p.last.InitVictim() != nil {
		return
	}
	if p.initVictim == nil {
		v := p.victim(&r.init)
		v.Cause = p.place.causeFor(oom.Kill[uint64]{
			Constraint: r.init.Constraint, Order: r.init.Order, Limit: r.init.Domain, Victim: r.cgroups, Inside: inside,
		})
		if v.Cause == oom.CauseUnknown {
			v.LimitPath = cgroupPath(p.source.h.Mount, v.Limit)
		}
		p.initVictim = &v
	}
	v := *p.initVictim
	p.last.Kills++
	p.last.Victims = append(p.last.Victims, v)
	p.last.Victims = p.last.Victims[max(0, len(p.last.Victims)-oom.MaxVictims):]
	p.last.Last, p.last.Cause = v.At, v.Cause
	if p.last.Kills == 1 {
		p.memoryLocked(r)
	}
}

// victim returns a record as a verdict has it.
func (p *probe) victim(r *Record) oom.Victim {
	page := uint64(os.Getpagesize())
	return oom.Victim{
		Seq: r.Seq, At: r.Time(), PID: int(r.TGID), StartTicks: r.StartTicks, Comm: r.Comm.String(),
		Lineage: p.lineage(r), Cause: p.place.cause(r.Constraint, r.Order, r.Domain), Limit: r.Domain,
		Anon: r.RSSAnon * page, File: r.RSSFile * page, Shmem: r.RSSShmem * page, Swap: r.Swap * page,
	}
}
