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
	"time"

	"github.com/containerd/containerd/v2/pkg/atomicfile"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

const (
	// recordFile is what a dead shim leaves behind of a run, in the bundle.
	// containerd removes it with the bundle.
	recordFile = "oomwitness.json"

	// recordVersion is raised when a reader of the old form would misread the new.
	// 2: it is there from Create on, when there is no verdict yet.
	recordVersion = 2

	// maxBundleFile bounds what is read of a file in a bundle.
	maxBundleFile = 1 << 20
)

// record is what is known of a run, for whoever has to tell of it when the shim
// is dead. It is written when init exists, with each stop that containerd asks
// for and each kill that init survives, and with the verdict.
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

	// These are set together, once there is a verdict.
	Status   *int         `json:"exitStatus,omitempty"`
	ExitedAt *time.Time   `json:"exitedAt,omitempty"`
	Verdict  *oom.Verdict `json:"verdict,omitempty"`
	// Acknowledged says that containerd had taken the TaskOOM by then.
	Acknowledged bool `json:"acknowledged"`
}

// record gives what is to be recorded now.
func (r *run) record() record {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := record{
		Version: recordVersion, ID: r.id, Boot: bootID(),
		Pid: r.pid, StartTicks: r.startTicks, Acknowledged: r.acked,
	}
	for _, s := range r.stops {
		rec.Stops = append(rec.Stops, s.Stop)
	}
	for name, p := range r.keepers {
		if kept, err := p.Keep(); err == nil {
			if rec.Probes == nil {
				rec.Probes = make(map[string]json.RawMessage, len(r.keepers))
			}
			rec.Probes[name] = kept
		}
	}
	if e, v := r.exit, r.verdict; v.Rule != 0 {
		rec.Pid, rec.Status, rec.ExitedAt, rec.Verdict = e.Pid, &e.Status, &e.At, &v
	}
	return rec
}

// exit gives the exit and its verdict, false where there is none yet.
func (rec record) exit() (oom.Exit, oom.Verdict, bool) {
	if rec.Verdict == nil {
		return oom.Exit{}, oom.Verdict{}, false
	}
	return oom.Exit{Pid: rec.Pid, Status: *rec.Status, At: *rec.ExitedAt}, *rec.Verdict, true
}

// decided gives the record with a verdict.
func (rec record) decided(e oom.Exit, v oom.Verdict) record {
	rec.Pid, rec.Status, rec.ExitedAt, rec.Verdict = e.Pid, &e.Status, &e.At, &v
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
	set := 0
	for _, there := range []bool{rec.Status != nil, rec.ExitedAt != nil, rec.Verdict != nil} {
		if there {
			set++
		}
	}
	switch {
	case set != 0 && set != 3:
		return record{}, errors.New("exit status, time and verdict are not all there")
	case set == 3 && (*rec.Status < 0 || *rec.Status > 255):
		return record{}, fmt.Errorf("exit status %d, allowed: 0 to 255", *rec.Status)
	case set == 3 && (rec.Verdict.Rule < oom.RuleInitVictim || rec.Verdict.Rule > oom.RuleNothingKnown):
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

// readBundleFile reads a regular file; anything else could keep its reader.
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

// writeRecord replaces the bundle's record in one step.
func writeRecord(bundle string, rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	f, err := atomicfile.New(filepath.Join(bundle, recordFile), 0o600)
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Cancel()
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	return nil
}

// bootID names the time from one boot of the node to the next; "" where it
// can't be told.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
