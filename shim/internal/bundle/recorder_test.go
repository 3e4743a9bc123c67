//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// Each line says all by itself, but for the baselines, which are there once.
func TestTheRecordGrows(t *testing.T) {
	dir := t.TempDir()
	r := NewRecorder(dir)
	probes := map[string]json.RawMessage{"ledger": json.RawMessage(`{"a":1}`)}
	rec := Record{ID: "c", Boot: "b", Pid: 7, Probes: probes, Stops: []oom.Stop{{Signal: unix.SIGTERM}}}
	saved := func(want Record) {
		t.Helper()
		require.NoError(t, r.Write(want))
		got, err := ReadRecord(dir)
		require.NoError(t, err)
		want.Version = recordVersion
		require.Equal(t, want, got)
	}
	saved(rec)
	rec.Stops = nil // one that was not sent
	saved(rec)
	saved(rec.Ended(oom.Exit{Pid: 7, Status: 3, At: time.Unix(1, 0).UTC()}))
	data, err := os.ReadFile(filepath.Join(dir, RecordFile))
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(data, []byte("probes")))
	probes["ledger"] = json.RawMessage(`{"a":2}`)
	saved(rec)

	for range 2 * maxRecord / len(data) {
		require.NoError(t, r.Write(rec))
	}
	saved(rec)
	fi, err := os.Stat(filepath.Join(dir, RecordFile))
	require.NoError(t, err)
	require.LessOrEqual(t, fi.Size(), int64(maxRecord))
	require.NoError(t, os.RemoveAll(dir))
	require.ErrorIs(t, r.Write(rec), fs.ErrNotExist)
}

// A shim can die within a write, and a disk be full: the lines before hold.
func TestATornLineIsIgnored(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, RecordFile)
	r := NewRecorder(dir)
	require.NoError(t, r.Write(Record{ID: "c", Pid: 7}))
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, r.Write(Record{ID: "c", Pid: 7, OOMExitCode: 9}))
	both, err := os.ReadFile(name)
	require.NoError(t, err)
	for n := range len(both) {
		require.NoError(t, os.WriteFile(name, both[:n], 0o600))
		rec, err := ReadRecord(dir)
		switch {
		case n == 0:
			require.ErrorIs(t, err, fs.ErrNotExist)
		case n < len(whole):
			require.Error(t, err)
			require.NotErrorIs(t, err, fs.ErrNotExist, "the log says that the record is damaged")
		default:
			require.NoError(t, err)
			require.Zero(t, rec.OOMExitCode)
		}
	}

	full := NewRecorder("/dev")
	full.name = "/dev/full"
	require.ErrorIs(t, full.Write(Record{ID: "c", Pid: 7}), unix.ENOSPC)
}

// TestTheFileStaysOpen from the exit on, and not after Close.
func TestTheFileStaysOpen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, RecordFile)
	opened := func() (n int) {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, fd := range fds {
			if path, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && path == name {
				n++
			}
		}
		return n
	}
	rec := Record{ID: "c", Boot: "b", Pid: 7}
	ended := rec.Ended(oom.Exit{Pid: 7, Status: 3, At: time.Unix(1, 0).UTC()})
	decided := ended
	decided.Verdict = &oom.Verdict{Rule: "4"}

	r := NewRecorder(dir)
	for _, step := range []struct {
		rec  Record
		open int
	}{{rec, 0}, {ended, 1}, {ended, 1}, {decided, 1}, {ended, 1}} {
		require.NoError(t, r.Write(step.rec))
		require.Equal(t, step.open, opened())
		got, err := ReadRecord(dir)
		require.NoError(t, err)
		require.Equal(t, step.rec.Verdict, got.Verdict)
	}
	for range 2 * maxRecord / 100 { // also where the file is replaced
		require.NoError(t, r.Write(ended))
		require.LessOrEqual(t, opened(), 1)
	}
	got, err := ReadRecord(dir)
	require.NoError(t, err)
	require.NotNil(t, got.Status)
	r.Close()
	r.Close()
	require.Zero(t, opened())
	require.NoError(t, r.Write(ended))
	require.Zero(t, opened(), "of a container that is gone")
}
