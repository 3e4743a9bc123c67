//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	// RecordFile is what a dead shim leaves behind of a run, in the bundle.
	// containerd removes it with the bundle.
	RecordFile = "oomwitness.json"

	// recordVersion is raised when a reader of the old form would misread the new. A shim
	// that runs while oomwitness is upgraded goes on to write its own version.
	recordVersion = 1

	// MaxStatus is the largest exit status that a process can have.
	MaxStatus = 255
)

// Record is what is known of a run, for whoever has to report it when the shim
// is dead. It is written when init exists, with each stop that containerd asks
// for and each kill that init survives, when init was reaped, and with the
// verdict. The file has a line of JSON for each of these moments. The last line says
// all; only Probes are left out where they are those of the line before.
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

	// Grace is the container's.
	Grace time.Duration `json:"graceNs"`
}

// OfThisBoot reports whether the record is of the node's boot of now, to which its pids
// and baselines belong.
func (rec Record) OfThisBoot() bool {
	boot, _ := oom.BootID()
	return rec.Boot == boot
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

// errNoRecord means that the shim died before it wrote the first line.
var errNoRecord = fmt.Errorf("no line: %w", fs.ErrNotExist)

// parseRecord reads the lines of a record. What follows the last newline is what a
// shim did not come to write.
func parseRecord(data []byte) (rec Record, err error) {
	if len(data) == 0 {
		return Record{}, errNoRecord
	}
	lines := bytes.Split(data, []byte("\n"))
	if len(lines) == 1 {
		return Record{}, errors.New("no whole line")
	}
	for i, line := range lines[:len(lines)-1] {
		before := rec
		rec = Record{}
		if err := json.Unmarshal(line, &rec); err != nil {
			return Record{}, fmt.Errorf("line %d: %w", i+1, err)
		}
		if rec.Probes == nil {
			rec.Probes = before.Probes
		}
		if err := rec.check(); err != nil {
			return Record{}, fmt.Errorf("line %d: %w", i+1, err)
		}
		if i > 0 && (rec.ID != before.ID || rec.Pid != before.Pid) {
			return Record{}, fmt.Errorf("line %d: container %q with pid %d, before %q with pid %d", i+1, rec.ID, rec.Pid, before.ID, before.Pid)
		}
	}
	return rec, nil
}

// check refuses a record that this version can't have written.
func (rec Record) check() error {
	if rec.Version != recordVersion {
		return fmt.Errorf("version %d, allowed: %d", rec.Version, recordVersion)
	}
	if rec.ID == "" || rec.Pid <= 0 {
		return fmt.Errorf("container %q with pid %d", rec.ID, rec.Pid)
	}
	switch {
	case (rec.Status == nil) != (rec.ExitedAt == nil):
		return errors.New("exit status without time, or time without status")
	case rec.ExitedAt != nil && rec.ExitedAt.IsZero():
		return errors.New("exit at no time")
	case rec.Status == nil && rec.Verdict != nil:
		return errors.New("verdict without exit")
	case rec.Status != nil && (*rec.Status < 0 || *rec.Status > MaxStatus):
		return fmt.Errorf("exit status %d, allowed: 0 to %d", *rec.Status, MaxStatus)
	case rec.OOMExitCode < 0 || rec.OOMExitCode > MaxStatus:
		return fmt.Errorf("exit code %d of an OOM, allowed: 0 to %d", rec.OOMExitCode, MaxStatus)
	case rec.Verdict != nil && rec.Verdict.Rule == "":
		return errors.New("verdict without a rule")
	case rec.Grace < 0:
		return fmt.Errorf("grace %v, allowed: 0 and more", rec.Grace)
	}
	return nil
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

// WriteRecord replaces the bundle's record in one step.
func WriteRecord(dir string, rec Record) error {
	data, err := rec.line()
	if err != nil {
		return err
	}
	if err := ReplaceFile(filepath.Join(dir, RecordFile), data, 0o600); err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	return nil
}

// line returns the record as a line of its file.
func (rec Record) line() ([]byte, error) {
	rec.Version = recordVersion
	data, err := json.Marshal(rec)
	if err != nil {
		return nil, fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	return append(data, '\n'), nil
}
