package oom

import (
	"errors"
	"time"
)

// ErrGone means that the container's cgroup was removed, so that its counters
// can't be read any more. systemd removes a scope as soon as its last process
// has ended, often before anyone reads.
var ErrGone = errors.New("cgroup is gone")

// Cause is whose limit made the kernel kill.
type Cause string

// The causes, nearest first.
const (
	// CauseNone stands where nothing was killed.
	CauseNone Cause = ""
	// CauseContainer is the container's own limit, or one nested inside it.
	CauseContainer Cause = "container"
	// CausePod is the limit of the pod that the container is in.
	CausePod Cause = "pod"
	// CauseAncestor is the limit of a cgroup above the pod, such as kubepods or
	// a slice of the administrator's.
	CauseAncestor Cause = "ancestor"
	// CauseNode is the node's memory: no limit fired.
	CauseNode Cause = "node"
	// CauseCpuset is memory of the NUMA nodes that a cpuset allows.
	CauseCpuset Cause = "cpuset"
	// CauseMempolicy is memory of the NUMA nodes that a memory policy allows.
	CauseMempolicy Cause = "mempolicy"
	// CauseSysrq is an operator's sysrq f.
	CauseSysrq Cause = "sysrq"
	// CauseUnknown stands where something was killed and no source knows why.
	CauseUnknown Cause = "unknown"
)

// Known is what is known of a yes-or-no question. Counters can't say which
// process was killed, so unknown is a common answer and never the same as no.
type Known uint8

// The answers.
const (
	Unknown Known = iota
	No
	Yes
)

// String returns "unknown", "no" or "yes".
func (k Known) String() string {
	switch k {
	case No:
		return "no"
	case Yes:
		return "yes"
	default:
		return "unknown"
	}
}

// MarshalText makes a Known readable in the bundle's record.
func (k Known) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the reverse of MarshalText. Anything but "yes" and "no" is
// Unknown: a record of a later version must still be readable.
func (k *Known) UnmarshalText(b []byte) error {
	switch string(b) {
	case "yes":
		*k = Yes
	case "no":
		*k = No
	default:
		*k = Unknown
	}
	return nil
}

// Target is the container that a source is asked to watch.
type Target struct {
	// ID is the container's ID, for messages only.
	ID string
	// Pid is the container's init, in the caller's PID namespace. It must not
	// have been reaped when Arm is called, or its pid may be another's.
	Pid int
	// Pod is true if the parent of the container's cgroup is its pod's cgroup.
	Pod bool
}

// Evidence is what one source knows of a container at one moment.
type Evidence struct {
	// Source names the source.
	Source string
	// Tier is the ledger's, in force at this reading; "" for other sources.
	Tier string
	// Kills counts the container's processes that the OOM killer has ended since
	// the probe was armed.
	Kills uint64
	// Twice is how many of Kills may be a victim that was counted before, as the first
	// of a group kill at an ancestor's memory.oom.group. A source that knows its victims
	// counts none twice.
	Twice uint64
	// Last is a time no earlier than the newest kill and as near to it as the
	// source can say. It is zero where there was none.
	Last time.Time
	// Init reports whether the container's init died of the OOM killer's SIGKILL.
	Init Known
	// Cause is that of the newest kill.
	Cause Cause
	// Victims are the newest of the kills, oldest first, at most MaxVictims. A source
	// that only counts has none.
	Victims []Victim
	// Execs is how many of Kills are without a name, and were of exec'd processes.
	Execs uint64
	// Sent reports whether somebody else than the OOM killer has sent init a SIGKILL,
	// and Sender is who did so first. Sender is nil where Sent is not Yes.
	Sent   Known
	Sender *Sender
	// Memory is what filled the memory at the newest kill's OOM event; nil where it is
	// not known.
	Memory *Memory
	// Gone is true if the cgroup was gone at this reading: the figures are those
	// of the last reading before, and kills after it are missing.
	Gone bool
}

// InitVictim returns init among the victims, nil if it is not there.
func (e Evidence) InitVictim() *Victim {
	for i := range e.Victims {
		if e.Victims[i].Lineage == LineageInit {
			return &e.Victims[i]
		}
	}
	return nil
}

// InitKilled returns the time at which the OOM killer killed init, as near as the source
// can say. It is zero where init was no victim.
func (e Evidence) InitKilled() time.Time {
	if e.Init != Yes {
		return time.Time{}
	}
	if v := e.InitVictim(); v != nil {
		return v.At
	}
	return e.Last
}

// Source is one place that knows of OOM kills. Implementations are checked by
// the suite in oomtest.
type Source interface {
	// Name is the source's name in verdicts, records and log lines.
	Name() string
	// Arm takes the baseline for a container: kills before it don't count.
	Arm(Target) (Probe, error)
}

// Probe is a source's view of one container. All methods may be called
// concurrently.
type Probe interface {
	// Read takes a new reading. Where it can't be had the error says why, and
	// the evidence is that of the last good reading: errors.Is(err, ErrGone)
	// where the cgroup is gone.
	Read() (Evidence, error)
	// Close releases what the probe holds. Read may still be called, and returns
	// the last reading and an error.
	Close() error
}

// ExecWatcher is a probe that needs the container's exec'd processes. The probe then
// distinguishes what such a process leaves behind from the children of init.
type ExecWatcher interface {
	// Execed says that an exec's process did not exist yet at that time or, with ended, that
	// it does not exist any more. The end may be known before the start. The time is
	// CLOCK_BOOTTIME in ns.
	Execed(pid int, bootNS uint64, ended bool)
}
