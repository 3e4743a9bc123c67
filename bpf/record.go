package bpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"golang.org/x/sys/unix"
)

// recordSize is that of Record in memory and in the ring.
const recordSize = 320

// ErrRecord means that bytes are no record of this ABI.
var ErrRecord = errors.New("not an OOM record")

// DecodeRecord reads a record of the ring. It takes exactly what the programs of
// this ABI write; anything else is an error that wraps ErrRecord.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) != recordSize {
		return Record{}, fmt.Errorf("%w: %d bytes, want %d", ErrRecord, len(b), recordSize)
	}
	r := pinned.Decode[Record](b)
	if err := r.check(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

// check refuses what the programs can't have written.
func (r *Record) check() error {
	switch {
	case r.ABI != ABI:
		return fmt.Errorf("ABI %d, want %d", r.ABI, ABI)
	case r.Size != recordSize:
		return fmt.Errorf("size field %d, want %d", r.Size, recordSize)
	case r.Tier < TierA || r.Tier > TierC:
		return fmt.Errorf("%v", r.Tier)
	case r.TGID == 0 || r.TID == 0:
		return errors.New("no victim")
	case r.Flags >= flagsEnd:
		return fmt.Errorf("unknown flags %#x", uint32(r.Flags))
	case r.Depth > maxAncestors:
		return fmt.Errorf("%d ancestors", r.Depth)
	case r.NSInits >= 1<<r.Depth:
		return fmt.Errorf("flags %#x of %d ancestors", r.NSInits, r.Depth)
	case r.Constraint > ConstraintMemcg && r.Constraint != ConstraintUnknown:
		return fmt.Errorf("constraint %d", r.Constraint)
	case (r.Constraint == ConstraintUnknown) != (r.Flags&FlagNoControl != 0):
		return fmt.Errorf("constraint %d with flags %#x", r.Constraint, uint32(r.Flags))
	}
	return nil
}

// Key is the victim's key.
func (r *Record) Key() TaskKey { return TaskKey{TGID: r.TGID, StartTicks: r.StartTicks} }

// Time is the wall time of the kill, by the clock as it is set now.
func (r *Record) Time() time.Time { return wallTime(r.BootNS) }

// wallTime turns CLOCK_BOOTTIME ns into wall time by their distance from now,
// so that it is right after the clock was set and after a suspend, and never
// earlier than the moment was. It keeps time's monotonic reading.
func wallTime(bootNS uint64) time.Time {
	boot, now := BootNow(), time.Now()
	for range clockTries { // a busy node may run others between the two readings
		if apart := BootNow() - boot; apart < uint64(sameMoment/2) {
			break
		}
		boot, now = BootNow(), time.Now()
	}
	return now.Add(-time.Duration(int64(boot) - int64(bootNS)))
}

// clockTries bounds how often the two clocks are read again.
const clockTries = 3

// BootNow is CLOCK_BOOTTIME, ns, the clock of a Record's BootNS.
func BootNow() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // the clock is there since Linux 2.6.39
	}
	return uint64(ts.Nano())
}
