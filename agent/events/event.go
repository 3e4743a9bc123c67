// Package events is one OOM event of the kernel with all its victims, as the
// agent reports it to log, API, Kubernetes and metrics.
package events

import (
	"strconv"
	"time"

	"github.com/oomwitness/oomwitness/agent/kill"
	"github.com/oomwitness/oomwitness/oom"
)

// Schema is the version of OOMEvent's JSON form: it stays as long as fields are
// only added.
const Schema = 1

// OOMEvent is one OOM event: the kernel was out of memory once, and killed one
// or more processes for it.
type OOMEvent struct {
	Schema int `json:"schema"`
	// ID is the same for the same event after a restart of the agent, and no
	// other event of any node has it: see NewID.
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
	Domain *kill.Domain `json:"domain"`
	// Limit is the domain's memory limit without swap, and Usage the most that it
	// has used, in bytes, both read right after the kill; null where they could
	// not be: the cgroup is gone, or the limit is nobody's.
	Limit *uint64 `json:"limit_bytes"`
	Usage *uint64 `json:"usage_bytes"`
	// Trigger is who asked for the memory.
	Trigger kill.Process `json:"trigger"`
	// Victims are in the order in which they were killed, at least one.
	Victims []Victim `json:"victims"`
}

// Victim is one process that was killed.
type Victim struct {
	kill.Victim
	// Index is its place among the victims of the event, from 0.
	Index  uint32      `json:"index"`
	Memory kill.Memory `json:"memory"`
	Cgroup kill.Cgroup `json:"cgroup"`
	// Container and Pod are null for a process outside of them. Their names are
	// empty where nobody could be asked in time.
	Container *kill.Container `json:"container"`
	Pod       *kill.Pod       `json:"pod"`
	// Unit is the systemd unit of a process that is in no pod, and in no container that
	// containerd knows.
	Unit string `json:"unit,omitempty"`
}

// New begins an OOM event with its first victim.
func New(boot string, e kill.Event) OOMEvent {
	in := OOMEvent{
		Schema: Schema, ID: NewID(boot, e), Time: e.Time, BootNS: e.BootNS, Event: e.Event,
		Cause: e.Cause, Tier: e.Tier, Domain: e.Domain, Trigger: e.Trigger,
	}
	in.Add(e)
	return in
}

// Add adds a further victim of the same event.
func (in *OOMEvent) Add(e kill.Event) {
	in.Victims = append(in.Victims, Victim{
		Victim: e.Victim, Index: e.Index, Memory: e.Memory, Cgroup: e.Cgroup, Container: e.Container, Pod: e.Pod, Unit: e.Unit,
	})
}

// NewID names the event whose first victim e is, in the boot whose ID is
// /proc/sys/kernel/random/boot_id. The number of the event alone would not do: a
// ledger that was unloaded and loaded again begins anew.
func NewID(boot string, e kill.Event) string {
	return boot + "-" + strconv.FormatUint(e.BootNS, 10) + "-" + strconv.FormatUint(e.Event, 10)
}
