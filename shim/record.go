//go:build linux

package shim

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/atomicfile"

	"github.com/oomwitness/oomwitness/oom"
)

// recordFile is the verdict's file in the bundle. containerd removes it with
// the bundle.
const recordFile = "oomwitness.json"

// recordVersion is raised when a reader of the old form would misread the new.
const recordVersion = 1

// record is what a restarted or dead shim leaves behind of an exit.
type record struct {
	Version  int         `json:"version"`
	ID       string      `json:"id"`
	Pid      int         `json:"pid"`
	Status   int         `json:"exitStatus"`
	ExitedAt time.Time   `json:"exitedAt"`
	Verdict  oom.Verdict `json:"verdict"`
	// Acknowledged says that containerd had taken the TaskOOM by then.
	Acknowledged bool `json:"acknowledged"`
}

func newRecord(id string, e oom.Exit, v oom.Verdict, acknowledged bool) record {
	return record{
		Version: recordVersion, ID: id, Pid: e.Pid, Status: e.Status, ExitedAt: e.At,
		Verdict: v, Acknowledged: acknowledged,
	}
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
