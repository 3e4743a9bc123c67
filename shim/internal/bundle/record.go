//go:build linux

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	// RecordFile is what a dead shim leaves behind of a run, in the bundle.
	// containerd removes it with the bundle.
	RecordFile = "oomwitness.json"

	// recordVersion is raised when a reader of the old form would misread the new.
	// 2: it is there from Create on, when there is no verdict yet.
	recordVersion = 2

	// MaxStatus is the largest exit status that a process can have.
	MaxStatus = 255
)

// Record is what is known of a run, for whoever has to report it when the shim
// is dead. It is written when init exists, with each stop that containerd asks
// for and each kill that init survives, when init was reaped, and with the
// verdict.
type Record struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// Boot is that of the node, whose processes StartTicks and all baselines are.
	Boot       string `json:"boot"`
	Pid        int    `json:"pid"`
	StartTicks uint64 `json:"startTicks,omitempty"` // 0 where it could not be read
	// Probes are the baselines of the evidence, by source.
	Probes map[string]json.RawMessage `json:"probes,omitempty"`
	Stops  []oom.Stop                 `json:"stops,omitempty"`

	// The exit, once init was reaped, and its verdict, once there is one.
	Status   *int         `json:"exitStatus,omitempty"`
	ExitedAt *time.Time   `json:"exitedAt,omitempty"`
	Verdict  *oom.Verdict `json:"verdict,omitempty"`
	// Delivered is true if containerd had acked the TaskOOM by then.
	Delivered bool `json:"acknowledged"`

	// OOMExitCode is the reported status in the place of Status if the verdict is OOM,
	// unless TrueStatus is set: Status may have been reported by then.
	OOMExitCode int  `json:"oomExitCode,omitempty"`
	TrueStatus  bool `json:"asIs,omitempty"`
}

// Exit returns the exit, false where there is none yet.
func (rec Record) Exit() (oom.Exit, bool) {
	if rec.Status == nil {
		return oom.Exit{}, false
	}
	return oom.Exit{Pid: rec.Pid, Status: *rec.Status, At: *rec.ExitedAt}, true
}

// Ended returns the record with an exit.
func (rec Record) Ended(e oom.Exit) Record {
	rec.Pid, rec.Status, rec.ExitedAt = e.Pid, &e.Status, &e.At
	return rec
}

// parseRecord reads a record, and refuses one that this version can't have
// written.
func parseRecord(data []byte) (Record, error) {
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return Record{}, err
	}
	if rec.Version != recordVersion {
		return Record{}, fmt.Errorf("version %d, want %d", rec.Version, recordVersion)
	}
	if rec.ID == "" || rec.Pid <= 0 {
		return Record{}, fmt.Errorf("container %q with pid %d", rec.ID, rec.Pid)
	}
	switch {
	case (rec.Status == nil) != (rec.ExitedAt == nil):
		return Record{}, errors.New("exit status without time, or time without status")
	case rec.ExitedAt != nil && rec.ExitedAt.IsZero():
		return Record{}, errors.New("exit at no time")
	case rec.Status == nil && rec.Verdict != nil:
		return Record{}, errors.New("verdict without exit")
	case rec.Status != nil && (*rec.Status < 0 || *rec.Status > MaxStatus):
		return Record{}, fmt.Errorf("exit status %d, allowed: 0 to %d", *rec.Status, MaxStatus)
	case rec.OOMExitCode < 0 || rec.OOMExitCode > MaxStatus:
		return Record{}, fmt.Errorf("exit code %d of an OOM, allowed: 0 to %d", rec.OOMExitCode, MaxStatus)
	case rec.Verdict != nil && (rec.Verdict.Rule < oom.RuleInitVictim || rec.Verdict.Rule > oom.RuleNothingKnown):
		return Record{}, fmt.Errorf("verdict by rule %d", rec.Verdict.Rule)
	}
	return rec, nil
}

// ReadRecord reads the bundle's record.
func ReadRecord(dir string) (Record, error) {
	name := filepath.Join(dir, RecordFile)
	data, err := ReadFile(name)
	if err != nil {
		return Record{}, fmt.Errorf("read the record: %w", err)
	}
	rec, err := parseRecord(data)
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", name, err)
	}
	return rec, nil
}

// WriteRecord replaces the bundle's record in one step. It does not wait for the
// disk, which on a node in trouble is slow: the page cache outlives the
// shim, and after a loss of power the bundle is of no use.
func WriteRecord(dir string, rec Record) error {
	rec.Version = recordVersion
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	if err := ReplaceFile(filepath.Join(dir, RecordFile), data, 0o600); err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	return nil
}
