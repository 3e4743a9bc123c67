//go:build linux

package scenario

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// event is what trace -o json says of a victim, as far as it is looked at.
type event struct {
	Event  uint64    `json:"event"`
	Index  uint32    `json:"index"`
	Cause  oom.Cause `json:"cause"`
	Tier   string    `json:"tier"`
	Victim struct {
		PID          uint32 `json:"pid"`
		TID          uint32 `json:"tid"`
		Comm         string `json:"comm"`
		StartTicks   uint64 `json:"start_ticks"`
		Init         bool   `json:"init"`
		SharedMemory bool   `json:"shared_memory"`
		OOMGroup     bool   `json:"oom_group"`
	} `json:"victim"`
	Container *struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"container"`
	Pod *struct {
		UID  string `json:"uid"`
		Name string `json:"name"`
	} `json:"pod"`
}

// traced asks oomwitness trace for what is written down.
func traced(t *testing.T, args ...string) []event {
	t.Helper()
	args = append([]string{"trace", "--follow=false", "-o", "json"}, args...)
	cmd := exec.CommandContext(t.Context(), oomwitness, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s", args, &stderr)
	var events []event
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var e event
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e), "%s", lines.Text())
		events = append(events, e)
	}
	return events
}

// freshLedger loads a ledger that has seen nothing yet.
func freshLedger(t *testing.T) {
	t.Helper()
	output(t, oomwitness, "unload")
	output(t, oomwitness, "load")
}

// meta returns the ledger's own counts.
func meta(t *testing.T) bpf.Meta {
	t.Helper()
	l, err := bpf.Open("")
	require.NoError(t, err)
	defer l.Close()
	m, err := l.Meta()
	require.NoError(t, err)
	return m
}

// recordsAfter returns the records of the events after that number.
func recordsAfter(t *testing.T, seq uint64) []bpf.Record {
	t.Helper()
	l, err := bpf.Open("")
	require.NoError(t, err)
	defer l.Close()
	all, err := l.Records()
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(r bpf.Record) bool { return r.Seq <= seq })
}
