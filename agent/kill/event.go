// Package kill is one victim of the OOM killer as operators and programs see it:
// a record of the ledger with the names of its cgroup, container and pod.
package kill

import (
	"os"
	"time"

	"github.com/oomwitness/oomwitness/agent/cgroups"
	"github.com/oomwitness/oomwitness/agent/containers"
	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// Schema is the version of Event's JSON form: it stays as long as fields are
// only added.
const Schema = 1

// Event is one victim of the OOM killer, as JSON has it. Pointers are null where
// there is no such thing, or it is not known.
type Event struct {
	Schema int `json:"schema"`
	// Time of the kill by the clock as it is set now, BootNS by CLOCK_BOOTTIME.
	Time   time.Time `json:"time"`
	BootNS uint64    `json:"boot_ns"`
	// Event numbers the OOM event, Index its victims from 0.
	Event uint64 `json:"event"`
	Index uint32 `json:"index"`
	// Cause is whose limit fired.
	Cause oom.Cause `json:"cause"`
	// Tier of the programs that wrote the record.
	Tier      string     `json:"tier"`
	Victim    Victim     `json:"victim"`
	Memory    Memory     `json:"memory"`
	Cgroup    Cgroup     `json:"cgroup"`
	Domain    *Domain    `json:"domain"`
	Trigger   Process    `json:"trigger"`
	Container *Container `json:"container"`
	Pod       *Pod       `json:"pod"`
	// Unit is the systemd unit of a process that is in no pod, and in no container that
	// containerd knows.
	Unit string `json:"unit,omitempty"`
}

// Process is one by its IDs on the node.
type Process struct {
	PID  uint32 `json:"pid"`
	TID  uint32 `json:"tid"`
	Comm string `json:"comm"`
}

// Victim is the process that was killed.
type Victim struct {
	Process
	// StartTicks is field 22 of /proc/PID/stat.
	StartTicks  uint64 `json:"start_ticks"`
	UID         uint32 `json:"uid"`
	OOMScoreAdj int32  `json:"oom_score_adj"`
	// Init says that it was process 1 of a PID namespace below the node's, as a
	// container's init is.
	Init bool `json:"init"`
	// SharedMemory says that it was not chosen, but shared its memory with one
	// that was.
	SharedMemory bool `json:"shared_memory"`
	// OOMGroup says that memory.oom.group held for its cgroup.
	OOMGroup bool `json:"oom_group"`
}

// Memory is what the victim had, in bytes. RSS and its parts are null where the
// kernel did not say.
type Memory struct {
	RSS        *uint64 `json:"rss_bytes"`
	Anon       *uint64 `json:"anon_bytes"`
	File       *uint64 `json:"file_bytes"`
	Shmem      *uint64 `json:"shmem_bytes"`
	PageTables uint64  `json:"page_tables_bytes"`
	TotalVM    uint64  `json:"total_vm_bytes"`
}

// Cgroup is the victim's. Paths are as Clean has them: whoever makes a cgroup chooses
// its name.
type Cgroup struct {
	// ID is the inode number of its directory.
	ID uint64 `json:"id"`
	// Path is "" where it was removed before anybody saw it; Ancestor is then the
	// nearest cgroup above it that is known.
	Path     string `json:"path"`
	Ancestor string `json:"ancestor,omitempty"`
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

// Container is the victim's, by its cgroup's path, and as containerd or
// Kubernetes knows it.
type Container struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Image     string `json:"image,omitempty"`
	Namespace string `json:"namespace,omitempty"` // containerd's
	// Kind is init, sidecar, container or ephemeral, "" where it isn't known.
	Kind string `json:"kind,omitempty"`
}

// Pod is the container's.
type Pod struct {
	// UID is the API object's where Kubernetes was asked: a static pod's mirror's.
	// Its cgroup has another.
	UID       string `json:"uid,omitempty"`
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	// Static says that it comes from the node's own files: the pod of the API
	// server is a mirror.
	Static bool `json:"static,omitempty"`
}

var constraints = map[uint32]string{
	bpf.ConstraintNone: "none", bpf.ConstraintCpuset: "cpuset",
	bpf.ConstraintMempolicy: "mempolicy", bpf.ConstraintMemcg: "memcg",
}

// NewEvent puts a record and the names of its cgroups together.
func NewEvent(r *bpf.Record, victim, domain cgroups.Name) Event {
	e := Event{
		Schema: Schema, Time: r.Time().UTC().Truncate(time.Millisecond), BootNS: r.BootNS,
		Event: r.Seq, Index: r.Index, Tier: r.Tier.String(), Cause: cgroups.Cause(r, victim, domain),
		Victim: Victim{
			Process:    Process{PID: r.TGID, TID: r.TID, Comm: r.Comm.String()},
			StartTicks: r.StartTicks, UID: r.UID, OOMScoreAdj: r.OOMScoreAdj,
			Init:         r.Flags&bpf.FlagNSInit != 0,
			SharedMemory: r.Flags&bpf.FlagShared != 0,
			OOMGroup:     r.Flags&bpf.FlagOOMGroup != 0,
		},
		Memory:  memoryOf(r),
		Cgroup:  Cgroup{ID: r.Cgroup, Path: Clean(victim.Path), Ancestor: Clean(victim.Nearest)},
		Trigger: Process{PID: r.TriggerTGID, TID: r.TriggerTID, Comm: r.TriggerComm.String()},
	}
	if r.Flags&bpf.FlagNoControl == 0 {
		e.Domain = &Domain{
			Constraint: constraints[r.Constraint], ID: r.Domain, Path: Clean(domain.Path),
			Size: r.TotalPages * pageSize, Order: r.Order, Points: r.Points,
		}
	}
	place := victim.Place()
	if place.Container != "" {
		e.Container = &Container{ID: Clean(place.Container)}
	}
	if place.PodUID != "" {
		e.Pod = &Pod{UID: Clean(place.PodUID)}
	}
	return e
}

// Named adds what containerd knows of the container. A container of Kubernetes is in
// its pod's cgroup: where containerd has the ID in another pod, or the cgroup is not
// kubelet's, somebody has given the cgroup another's name, and the event is of no
// container and no pod.
func (e *Event) Named(info containers.Info) {
	if info.Namespace == containers.Kubernetes {
		if e.Pod == nil || e.Pod.UID != info.PodUID {
			e.Container, e.Pod = nil, nil
			return
		}
		e.Pod.Name, e.Pod.Namespace = info.Pod, info.PodNamespace
	}
	e.Container.Name, e.Container.Image, e.Container.Namespace = info.Name, info.Image, info.Namespace
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
	return m
}
