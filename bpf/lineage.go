package bpf

import (
	"slices"
	"strconv"

	"github.com/oomwitness/oomwitness/oom"
)

// ref returns the key in half the room.
func (k TaskKey) ref() TaskRef { return TaskRef{TGID: k.TGID, StartLow: uint32(k.StartTicks)} }

// keys returns the keys that a reference may stand for, given the start of a process
// that is no older than 497 days before or after it.
func (r TaskRef) keys(near uint64) [2]TaskKey {
	high := near &^ (1<<32 - 1)
	first := TaskKey{TGID: r.TGID, StartTicks: high | uint64(r.StartLow)}
	return [2]TaskKey{first, {TGID: r.TGID, StartTicks: first.StartTicks - 1<<32}}
}

// before returns the start of a process that is no younger than one that began then.
func (r TaskRef) before(start uint64) uint64 {
	ticks := start&^(1<<32-1) | uint64(r.StartLow)
	if ticks > start {
		ticks -= 1 << 32
	}
	return ticks
}

// family are the processes that distinguish a container's victims.
type family struct {
	init TaskKey
	// shim is init's parent, the zero key where it is not known.
	shim TaskKey
	// nodePIDs is true for an init in the node's own PID namespace (hostPID).
	nodePIDs bool
}

// familyOf reads the family of an init that runs. A parent that cannot be read is one that
// is not known.
func familyOf(pid int) (family, error) {
	s, err := readStat(pid)
	if err != nil {
		return family{}, err
	}
	f := family{init: TaskKey{TGID: uint32(pid), StartTicks: s.ticks}}
	if began, err := StartTicks(s.parent); err == nil {
		f.shim = TaskKey{TGID: uint32(s.parent), StartTicks: began}
	}
	own, err := ownPIDNamespace()
	if err != nil {
		return family{}, err
	}
	f.nodePIDs = mayBeIn(pid, own)
	return f, nil
}

// mayBeIn reports whether a process may be in a PID namespace: where that is not known, no
// exec'd process is distinguished.
func mayBeIn(pid int, namespace uint32) bool {
	ns, err := pidNamespaceOf(strconv.Itoa(pid))
	return err != nil || ns == namespace
}

// lineage returns how a victim is related to init. A chain of ancestors that leaves the
// container at the shim without passing init is an exec'd process's, but where the
// kernel gives orphans another parent than init: to the process 1 of a PID namespace
// that containers share, and in the node's PID namespace to the shim itself.
func (f family) lineage(r *Record) oom.Lineage {
	if r.Key() == f.init {
		return oom.LineageInit
	}
	known := r.Ancestors[:min(r.Depth, maxAncestors)]
	if slices.Contains(known, f.init.ref()) {
		return oom.LineageDescendant
	}
	shim := slices.Index(known, f.shim.ref())
	if f.shim == (TaskKey{}) || shim < 0 || f.nodePIDs {
		return oom.LineageUnknown
	}
	if shim > 0 && r.NSInits&(1<<(shim-1)) != 0 {
		return oom.LineageUnknown // an orphan, or another container's
	}
	return oom.LineageExec
}
