package bpf

import (
	"fmt"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
)

// Meta describes the ledger and counts what it saw.
type Meta struct {
	ABI, Version uint32
	Tier         Tier
	// Hierarchy is the version of cgroups that memory is on.
	Hierarchy int
	// SinceNS is the CLOCK_BOOTTIME, ns, since which no kill is missing, and
	// LoadedNS when the programs of now came.
	SinceNS, LoadedNS uint64
	// Seq is the number of the newest event.
	Seq uint64
	// Victims written down, and Cgroups entered.
	Victims, Cgroups uint64
	// Marked counts mark_victim; NotKilled are those of tasks that were dying
	// already.
	Marked, NotKilled uint64
	// NoControl are victims whose oom_control was not seen.
	NoControl uint64
	// LostRing counts records for which the ring was full, LostTask, LostCgroup and
	// LostSender those that a map refused.
	LostRing, LostTask, LostCgroup, LostSender uint64
	// PIDNS is the inode of the PID namespace whose PIDs the ledger has, and Outside
	// counts the victims that were outside of it.
	PIDNS   uint32
	Outside uint64
}

// Meta reads them.
func (l *Ledger) Meta() (Meta, error) {
	a, err := about(l.meta)
	if err != nil {
		return Meta{}, err
	}
	return l.counted(a)
}

// counted reads the counts. What is said about a ledger stays while the ledger is in
// force, and so the reading of an exit takes that as it was when the ledger was opened.
func (l *Ledger) counted(a metaValue) (Meta, error) {
	c, err := counts(l.meta)
	if err != nil {
		return Meta{}, err
	}
	return Meta{
		ABI: a.ABI, Version: l.version, Tier: l.tier, Hierarchy: int(a.Hierarchy),
		SinceNS: a.SinceNS, LoadedNS: a.LoadedNS, Seq: c.Seq, Victims: c.Victims, Cgroups: c.Cgroups,
		Marked: c.Marked, NotKilled: c.NotKilled, NoControl: c.NoControl,
		LostRing: c.LostRing, LostTask: c.LostTask, LostCgroup: c.LostCgrp, LostSender: c.LostSender,
		PIDNS: a.pidNS(), Outside: c.Outside,
	}, nil
}

func counts(meta *pinned.Map) (metaValue, error) { return readMeta(meta, metaCounts) }

func readMeta(meta *pinned.Map, half uint32) (metaValue, error) {
	raw, err := meta.LookupBytes(half)
	if err != nil {
		return metaValue{}, fmt.Errorf("read the OOM ledger's meta: %w", permission(err, capBPF))
	}
	return decodeMeta(raw)
}

// decodeMeta reads a meta of any ABI, which has at least the fields that never
// move.
func decodeMeta(raw []byte) (metaValue, error) {
	if len(raw) < metaFixed {
		return metaValue{}, fmt.Errorf("%w: meta of %d bytes", ErrABI, len(raw))
	}
	return pinned.Decode[metaValue](raw), nil
}
