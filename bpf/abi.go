package bpf

import (
	"bytes"
	"structs"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"github.com/oomwitness/oomwitness/oom"
)

// ABI numbers the layout of what the pinned maps hold (kernel/abi.h).
const ABI = 3

// Version numbers the programs within one ABI. Raise it with every change of
// what they do: a loader replaces programs of a lower version.
const Version = 2

// Names of the pins, in the ledger's folder below its generation.
const (
	mapByTask   = "by_task"
	mapByCgroup = "by_cgroup"
	mapEvents   = "events"
	mapMeta     = "meta"
	mapFlights  = "flights"
	// From ABI 2 on.
	mapInits    = "inits"
	mapMemories = "memories"
	linkPrefix  = "link_"
)

var mapNames = []string{mapByTask, mapByCgroup, mapEvents, mapMeta, mapFlights, mapInits, mapMemories}

// mapNamesOf are those of an ABI up to this one.
func mapNamesOf(abi uint32) []string {
	if abi < 2 {
		return mapNames[:5]
	}
	return mapNames
}

// mapShapes are what the maps are in every ABI.
var mapShapes = map[string]struct {
	kind    pinned.Kind
	keySize uint32
	// leastValue is the part of a value that is the same in every ABI, in bytes.
	leastValue uint32
}{
	mapByTask:   {pinned.LRUHash, 16, 0},
	mapByCgroup: {pinned.LRUHash, 8, 0},
	mapEvents:   {pinned.RingBuf, 0, 0},
	mapMeta:     {pinned.Array, 4, metaFixed},
	mapFlights:  {pinned.Array, 4, 0},
	mapInits:    {pinned.Hash, 16, 0},
	mapMemories: {pinned.Array, 4, 0},
}

// maxDepth is MAX_DEPTH of the programs.
const maxDepth = 32

// metaFixed are the bytes of a metaValue that are the same in every ABI: ABI,
// state, version and tier.
const metaFixed = 16

// Keys of the map meta.
const (
	metaAbout  uint32 = 0
	metaCounts uint32 = 1
)

// States of a generation of the ledger.
const (
	stateActive   uint32 = 1
	stateRetiring uint32 = 2 // its counts are being handed over
	stateRetired  uint32 = 3 // another has acked over, or it was unloaded
)

// Comm is a task's name as the kernel keeps it: cut to 15 bytes, any bytes.
type Comm [16]byte

// String returns the bytes before the first zero.
func (c Comm) String() string {
	name, _, _ := bytes.Cut(c[:], []byte{0})
	return string(name)
}

// Flags of a record.
type Flags uint32

// The flags.
const (
	// FlagShared is a process that was killed since it shares its memory with a
	// victim (CLONE_VM, vfork), not chosen itself. No counter counts it.
	FlagShared Flags = 1 << iota
	// FlagOOMGroup means that memory.oom.group holds for the victim's cgroup.
	FlagOOMGroup
	// FlagNSInit is process 1 of a PID namespace other than the node's.
	FlagNSInit
	// FlagNoControl means that the kernel's oom_control was not seen, as always
	// in tier C: domain, constraint, order, total pages and points are unknown.
	FlagNoControl
	// FlagEventGuessed means that kills were put together to one event by their
	// trigger and time (tier C).
	FlagEventGuessed
	// FlagNoRSS means that the RSS is unknown.
	FlagNoRSS
	// FlagCarried marks what was recorded by the ledger before an upgrade.
	FlagCarried
	// FlagLineageCut means that the victim has more ancestors than a record holds.
	FlagLineageCut
	// FlagDying means that another signal, or the process's own exit, was ending it
	// already: the OOM killer's SIGKILL changed nothing.
	FlagDying

	// flagsEnd is above all of them.
	flagsEnd
)

// Constraints of an OOM, as oom has them.
const (
	ConstraintNone      = oom.ConstraintNone
	ConstraintCpuset    = oom.ConstraintCpuset
	ConstraintMempolicy = oom.ConstraintMempolicy
	ConstraintMemcg     = oom.ConstraintMemcg
	ConstraintUnknown   = oom.ConstraintUnknown
)

// OrderSysrq is oom_control.order for an operator's sysrq f.
const OrderSysrq = oom.OrderSysrq

// TaskKey names a process for good: a PID is used again, but not within the
// clock tick in which it was used first.
type TaskKey struct {
	_    structs.HostLayout
	TGID uint32 // in the node's PID namespace
	_    uint32
	// StartTicks is when the process began, in 1/100 s since boot: field 22 of
	// /proc/PID/stat.
	StartTicks uint64
}

// TaskRef is a TaskKey in half the room: StartLow is the lower half of StartTicks,
// which begins again after 497 days. See TaskRef.key.
type TaskRef struct {
	_        structs.HostLayout
	TGID     uint32
	StartLow uint32
}

// What a record has room for.
const (
	maxAncestors = 12
	maxBefore    = 3
)

// Record is one victim of the OOM killer, as the programs write it.
type Record struct {
	_           structs.HostLayout
	ABI         uint32
	Size        uint32 // of the record, in bytes
	BootNS      uint64 // CLOCK_BOOTTIME at the kill, ns
	Seq         uint64 // number of the OOM event
	Index       uint32 // of the victim in its event, from 0
	TID         uint32 // of the thread that stands for the victim
	TGID        uint32
	UID         uint32 // real user ID in the node's user namespace
	StartTicks  uint64 // as TaskKey's
	Comm        Comm
	OOMScoreAdj int32
	Flags       Flags
	RSSAnon     uint64 // pages
	RSSFile     uint64 // pages
	RSSShmem    uint64 // pages
	PageTables  uint64 // bytes
	TotalVM     uint64 // pages
	Cgroup      uint64 // ID on the hierarchy that memory is on: the inode number
	TriggerTID  uint32 // who asked for the memory
	TriggerTGID uint32
	TriggerComm Comm
	Domain      uint64 // ID of the cgroup whose limit fired, 0 for none
	Constraint  uint32
	Order       int32  // of the allocation, OrderSysrq for sysrq f
	TotalPages  uint64 // size of the domain, pages
	Points      int64  // the kernel's badness of the chosen victim, pages
	Tier        Tier
	// Session is the PID, in the node's PID namespace, of the process that has begun the
	// victim's session; 0 if that is not known. No process gets the PID while the session
	// has a process.
	Session uint32
	Swap    uint64 // pages that are in swap
	// Ancestors at the kill, the parent first; Depth of them are set. They end at the
	// node's process 1, or with FlagLineageCut.
	Ancestors [maxAncestors]TaskRef
	Depth     uint32
	// NSInits has bit i set where Ancestors[i] is process 1 of a PID namespace below
	// the node's.
	NSInits uint32
	// Before are the newest victims before this one in its cgroup, in the one above,
	// and in the one above that.
	Before [maxBefore]TaskRef
}

// cgroupEntry is a value of by_cgroup. See Cgroup.
type cgroupEntry struct {
	_              structs.HostLayout
	Turn           uint32
	NSInits        uint32
	Parent         uint64
	Victims        uint64
	Own            uint64
	Events         uint64
	LastNS         uint64
	LastSeq        uint64
	LastDomain     uint64
	LastStartTicks uint64
	LastConstraint uint32
	LastOrder      int32
	LastTGID       uint32
	LastFlags      Flags
	LastComm       Comm
	CarriedVictims uint64
	CarriedOwn     uint64
	CarriedEvents  uint64
	// Made is Cgroups of metaValue when the entry was made, itself counted.
	Made uint64
}

// metaValue is a value of meta; its keys fill one half each.
type metaValue struct {
	_          structs.HostLayout
	ABI        uint32
	State      uint32
	Version    uint32
	Tier       Tier
	Hierarchy  uint32
	PIDNS      uint32
	SinceNS    uint64
	LoadedNS   uint64
	Previous   uint64
	Seq        uint64
	Victims    uint64
	Cgroups    uint64
	Marked     uint64
	NotKilled  uint64
	NoControl  uint64
	LostRing   uint64
	LostTask   uint64
	LostCgrp   uint64
	LostSender uint64
	Outside    uint64
}
