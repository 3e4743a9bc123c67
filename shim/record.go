//go:build linux

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

const (
	// recordFile is what a dead shim leaves behind of a run, in the bundle.
	// containerd removes it with the bundle.
	recordFile = "oomwitness.json"

	// recordVersion is raised when a reader of the old form would misread the new.
	// 2: it is there from Create on, when there is no verdict yet.
	recordVersion = 2

	// maxStatus is the largest exit status that a process can have.
	maxStatus = 255

	// maxBundleFile bounds what is read of a file in a bundle.
	maxBundleFile = 1 << 20
)

// record is what is known of a run, for whoever has to report it when the shim
// is dead. It is written when init exists, with each stop that containerd asks
// for and each kill that init survives, when init was reaped, and with the
// verdict.
type record struct {
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

// record returns what a checkpoint is to say now.
func (c *container) record(state exit.Record) record {
	c.mu.Lock()
	checkpointers := c.checkpointers
	c.mu.Unlock()
	for name, p := range checkpointers { // one that is being read stays as it was
		if checkpointed, err := p.Checkpoint(); err == nil {
			c.checkpoints[name] = checkpointed
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	rec := record{
		Version: recordVersion, ID: c.id, Boot: bootID(), Probes: c.checkpoints,
		Pid: c.pid, StartTicks: c.startTicks, Delivered: state.Acked,
		OOMExitCode: c.policy.exitCode, TrueStatus: state.TrueOnly,
	}
	for _, s := range c.stops {
		rec.Stops = append(rec.Stops, s.Stop)
	}
	if c.exit != nil {
		rec = rec.ended(*c.exit)
	}
	if v := c.verdict; v.Rule != 0 {
		rec.Verdict = &v
	}
	return rec
}

// exit returns the exit, false where there is none yet.
func (rec record) exit() (oom.Exit, bool) {
	if rec.Status == nil {
		return oom.Exit{}, false
	}
	return oom.Exit{Pid: rec.Pid, Status: *rec.Status, At: *rec.ExitedAt}, true
}

// ended returns the record with an exit.
func (rec record) ended(e oom.Exit) record {
	rec.Pid, rec.Status, rec.ExitedAt = e.Pid, &e.Status, &e.At
	return rec
}

// parseRecord reads a record, and refuses one that this version can't have
// written.
func parseRecord(data []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return record{}, err
	}
	if rec.Version != recordVersion {
		return record{}, fmt.Errorf("version %d, want %d", rec.Version, recordVersion)
	}
	if rec.ID == "" || rec.Pid <= 0 {
		return record{}, fmt.Errorf("container %q with pid %d", rec.ID, rec.Pid)
	}
	switch {
	case (rec.Status == nil) != (rec.ExitedAt == nil):
		return record{}, errors.New("exit status without time, or time without status")
	case rec.ExitedAt != nil && rec.ExitedAt.IsZero():
		return record{}, errors.New("exit at no time")
	case rec.Status == nil && rec.Verdict != nil:
		return record{}, errors.New("verdict without exit")
	case rec.Status != nil && (*rec.Status < 0 || *rec.Status > maxStatus):
		return record{}, fmt.Errorf("exit status %d, allowed: 0 to %d", *rec.Status, maxStatus)
	case rec.OOMExitCode < 0 || rec.OOMExitCode > maxStatus:
		return record{}, fmt.Errorf("exit code %d of an OOM, allowed: 0 to %d", rec.OOMExitCode, maxStatus)
	case rec.Verdict != nil && (rec.Verdict.Rule < oom.RuleInitVictim || rec.Verdict.Rule > oom.RuleNothingKnown):
		return record{}, fmt.Errorf("verdict by rule %d", rec.Verdict.Rule)
	}
	return rec, nil
}

// readRecord reads the bundle's record.
func readRecord(bundle string) (record, error) {
	name := filepath.Join(bundle, recordFile)
	data, err := readBundleFile(name)
	if err != nil {
		return record{}, fmt.Errorf("read the record: %w", err)
	}
	rec, err := parseRecord(data)
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", name, err)
	}
	return rec, nil
}

// readBundleFile reads a regular file; anything else could block its reader.
func readBundleFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxBundleFile {
		return nil, fmt.Errorf("%s: mode %v and %d bytes, allowed: a regular file of %d bytes", name, fi.Mode(), fi.Size(), maxBundleFile)
	}
	return io.ReadAll(io.LimitReader(f, maxBundleFile))
}

// writeRecord replaces the bundle's record in one step. It does not wait for the
// disk, which on a node in trouble is slow: the page cache outlives the
// shim, and after a loss of power the bundle is of no use.
func writeRecord(bundle string, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	if err := replaceFile(filepath.Join(bundle, recordFile), data, 0o600); err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	return nil
}

// replaceFile puts a file in the place of another in one step, or leaves that as
// it was.
func replaceFile(name string, data []byte, mode os.FileMode) error {
	err := os.WriteFile(name+".new", data, mode)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		_ = os.Remove(name + ".new")
	}
	return err
}

// boot is the ID of the node's boot, once it was read.
var boot atomic.Pointer[string]

// bootID names the time from one boot of the node to the next; "" where it
// can't be read.
func bootID() string {
	if id := boot.Load(); id != nil {
		return *id
	}
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(text))
	boot.Store(&id)
	return id
}

// reportedStatus returns the status to report of an exit: code, if the pod has chosen
// one and the verdict is OOM, unless the true status may have been reported.
func reportedStatus(status, code int, v oom.Verdict, trueStatus bool) int {
	if code == 0 || trueStatus || !v.OOMKilled {
		return status
	}
	return code
}
