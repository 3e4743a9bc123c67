package bpf

import (
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

var _ oom.ExecWatcher = (*probe)(nil)

// execProcess is an exec'd process of a container. The runtime has each process that the
// runtime starts begin a session (runc's libcontainer/nsenter/nsexec.c). A process that
// the exec'd process leaves behind stays in the session, whoever is its parent then.
type execProcess struct {
	PID uint64 `json:"pid"`
	// Ran has a time no later than the start and a time no earlier than the end, in ticks
	// since boot. Either is 0 while nobody knows it.
	Ran [2]uint64 `json:"ran"`
}

// maxExecs bounds what is kept: a pod may have a probe each second.
const maxExecs = 64

// tick is that of StartTicks in ns: USER_HZ is 100 on amd64 and arm64.
const tick = uint64(time.Second / 100)

// Execed implements oom.ExecWatcher.
func (p *probe) Execed(pid int, bootNS uint64, ended bool) {
	which := 0
	if ended {
		which = 1
	}
	p.execs.Lock()
	at := len(p.execd) - 1
	for at >= 0 && p.execd[at].PID != uint64(pid) {
		at--
	}
	if at < 0 || p.execd[at].Ran[which] != 0 { // none, or the PID again
		at = min(len(p.execd), maxExecs-1)
		p.execd = append(p.execd[len(p.execd)-at:], execProcess{PID: uint64(pid)})
	}
	p.execd[at].Ran[which] = bootNS / tick
	p.execs.Unlock()
}

// lineage returns how a victim is related to init. A victim in the session of an exec'd
// process is that process's, also an orphan that the kernel has given to init. The PID is
// another process's only after the end of the session. So the victim, or one of its
// ancestors in the container, must have begun while the process ran. Init and the shim are
// older than the process.
func (p *probe) lineage(r *Record) oom.Lineage {
	l := p.family.lineage(r)
	if l == oom.LineageInit || r.Session == 0 {
		return l
	}
	p.execs.Lock()
	for _, e := range p.execd {
		start := r.StartTicks
		for at := 0; e.PID == uint64(r.Session) && e.Ran[0] != 0; at++ {
			if start >= e.Ran[0] && (e.Ran[1] == 0 || start <= e.Ran[1]) {
				l = oom.LineageExec
			}
			if at >= int(min(r.Depth, maxAncestors)) {
				break
			}
			start = r.Ancestors[at].before(start)
		}
	}
	p.execs.Unlock()
	return l
}
