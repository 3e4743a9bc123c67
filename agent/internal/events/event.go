// Package events is one OOM event of the kernel with all its victims, as the
// agent reports it to log, API, Kubernetes and metrics.
package events

import (
	"os"
	"strconv"
	"time"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Schema is the version of OOMEvent's JSON form: it stays as long as fields are
// only added.
const Schema = 1

// LogMessage is the message of the line of an OOM event in the log, and of no other line.
const LogMessage = "OOM kill"

// KilledMessage is the message of the line of a container that was killed otherwise.
const KilledMessage = "container killed by SIGKILL"

// OOMEvent is one OOM event: the kernel was out of memory once, and killed one
// or more processes for it.
type OOMEvent struct {
	Schema int `json:"schema"`
	// ID is the same for the same event after a restart of the agent, and no
	// other event of any node has it: see Identify.
	ID string `json:"id"`
	// Time of the first kill by the clock as it was set when the agent read it,
	// BootNS by CLOCK_BOOTTIME.
	Time   time.Time `json:"time"`
	BootNS uint64    `json:"boot_ns"`
	// Event is the ledger's number of it.
	Event uint64 `json:"event"`
	// Cause is whose limit fired, seen from the first victim.
	Cause oom.Cause `json:"cause"`
	// Tier of the programs that saw it.
	Tier string `json:"tier"`
	// Domain is what ran out of memory, null in tier C.
	Domain *Domain `json:"domain"`
	// Limit is the domain's memory limit without swap, and Usage the most that it
	// has used, in bytes, both read right after the kill; null where they could
	// not be: the cgroup is gone, or the limit is nobody's.
	Limit *uint64 `json:"limit_bytes"`
	Usage *uint64 `json:"usage_bytes"`
	// Memory is what filled the domain, and the largest processes that the OOM killer
	// looked at; null where the ledger does not know.
	Memory *oom.Memory `json:"memory,omitempty"`
	// Trigger is who asked for the memory.
	Trigger Process `json:"trigger"`
	// Victims are in the order in which they were killed, at least one.
	Victims []Victim `json:"victims"`
}

// First is the first victim.
func (in *OOMEvent) First() *Victim { return &in.Victims[0] }

// Process is one by its IDs on the node.
type Process struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid"`
	Comm string `json:"comm"`
}

// Domain is what ran out of memory.
type Domain struct {
	// Constraint is the kernel's: none, cpuset, mempolicy, memcg.
	Constraint string `json:"constraint"`
	// ID and Path are of the cgroup whose limit fired, 0 and "" if it was none.
	ID   uint64 `json:"id"`
	Path string `json:"path"`
	// Size in bytes: of a cgroup its limits of memory and swap together.
	Size uint64 `json:"size_bytes"`
	// Order of the allocation that failed, -1 for sysrq f.
	Order int32 `json:"order"`
	// Points are the kernel's badness of the victim that it chose, in pages.
	Points int64 `json:"points"`
}

var constraints = map[uint32]string{
	bpf.ConstraintNone: "none", bpf.ConstraintCpuset: "cpuset",
	bpf.ConstraintMempolicy: "mempolicy", bpf.ConstraintMemcg: "memcg",
}

// New returns the OOM event of a record, as far as one victim shows: with that victim
// alone, and without an ID. victim and domain are the names of the record's two cgroups.
func New(r *bpf.Record, victim, domain cgroups.Name) OOMEvent {
	in := OOMEvent{
		Schema: Schema, Time: r.Time().UTC().Truncate(time.Millisecond), BootNS: r.BootNS, Event: r.Seq,
		Cause: cgroups.Cause(r, victim, domain), Tier: r.Tier.String(),
		Trigger: Process{PID: r.TriggerTGID, TID: r.TriggerTID, Comm: r.TriggerComm.String()},
		Victims: []Victim{victimOf(r, victim)},
	}
	if r.Flags&bpf.FlagNoControl == 0 {
		in.Domain = &Domain{
			Constraint: constraints[r.Constraint], ID: r.Domain, Path: CleanPath(domain.Path),
			Size: r.TotalPages * pageSize, Order: r.Order, Points: r.Points,
		}
	}
	return in
}

func victimOf(r *bpf.Record, name cgroups.Name) Victim {
	v := Victim{
		Index: r.Index, Comm: r.Comm.String(), OOMScoreAdj: r.OOMScoreAdj, Memory: memoryOf(r),
		Init:         r.Flags&bpf.FlagNSInit != 0,
		SharedMemory: r.Flags&bpf.FlagShared != 0,
		OOMGroup:     r.Flags&bpf.FlagOOMGroup != 0,
		IDs:          IDs{PID: r.TGID, TID: r.TID, StartTicks: r.StartTicks, UID: r.UID},
		Cgroup:       Cgroup{ID: r.Cgroup, Path: CleanPath(name.Path), Ancestor: CleanPath(name.Nearest)},
	}
	place := name.Place()
	if place.Container != "" {
		v.Container = &Container{ID: Clean(place.Container)}
	}
	if place.PodUID != "" {
		v.Pod = &Pod{UID: Clean(place.PodUID)}
	}
	return v
}

// Identify sets the ID of the event, in the boot whose ID is
// /proc/sys/kernel/random/boot_id. The number of the event alone would not do: a
// ledger that was unloaded and loaded again begins anew.
func (in *OOMEvent) Identify(boot string) {
	in.ID = boot + "-" + strconv.FormatUint(in.BootNS, 10) + "-" + strconv.FormatUint(in.Event, 10)
}

var pageSize = uint64(os.Getpagesize())

func memoryOf(r *bpf.Record) Memory {
	m := Memory{PageTables: r.PageTables, TotalVM: r.TotalVM * pageSize}
	if r.Flags&bpf.FlagNoRSS != 0 {
		return m
	}
	bytes := func(pages uint64) *uint64 { return new(pages * pageSize) }
	m.Anon, m.File, m.Shmem = bytes(r.RSSAnon), bytes(r.RSSFile), bytes(r.RSSShmem)
	m.RSS = bytes(r.RSSAnon + r.RSSFile + r.RSSShmem)
	m.Swap = r.Swap * pageSize
	return m
}
