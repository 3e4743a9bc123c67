//go:build linux

package bundle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

func TestRefusedRecords(t *testing.T) {
	_, err := parseRecord([]byte(`{"version":1,"id":"c","pid":7}`))
	require.ErrorContains(t, err, "no whole line")
	for _, bad := range []string{
		`{"version":0,"id":"c","pid":7}`, `{"version":2,"id":"c","pid":7}`, `{"version":1,"id":"c","pid":7,"graceNs":-1}`,
		`{"version":1,"id":"c","pid":7,"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{"rule":"5"}}`,
		`{"version":1,"id":"c","pid":7,"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{"rule":5}}`,
		`{"version":1,"id":"c","pid":7,"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{}}`,
	} {
		_, err := parseRecord([]byte(bad + "\n"))
		require.Error(t, err, bad)
	}
}

func FuzzParseRecord(f *testing.F) {
	at := time.Unix(1, 0)
	rec := Record{Version: recordVersion, ID: "c", Boot: "b", Pid: 7, StartTicks: 8, Stops: []oom.Stop{{Signal: unix.SIGTERM}}}
	ended := rec.Ended(oom.Exit{Pid: 7, Status: 137, At: at})
	decided := ended
	decided.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleWithinGrace}
	own := decided
	own.OOMExitCode, own.TrueStatus = 217, true
	own.Grace = time.Minute
	for _, r := range []Record{rec, ended, decided, own} {
		data, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(append(data, '\n'))
	}
	f.Add([]byte("{\"version\":1,\"id\":\"c\",\"pid\":7,\"probes\":{\"a\":1}}\n{\"version\":1,\"id\":\"c\",\"pid\":7}\n{\"vers"))
	f.Add([]byte(`{"version":1,"id":"c","pid":7,"probes":{"ledger":{}},"exitStatus":256}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := parseRecord(data)
		if err != nil {
			return
		}
		if e, ok := rec.Exit(); rec.Pid <= 0 || rec.ID == "" || ok && (e.Status < 0 || e.Status > 255) {
			t.Fatalf("%+v from %q", rec, data)
		}
		require.True(t, rec.OOMExitCode >= 0 && rec.OOMExitCode <= MaxStatus, "%q", data)
		again, err := json.Marshal(rec)
		require.NoError(t, err)
		_, err = parseRecord(append(again, '\n'))
		require.NoError(t, err, "%q written as %q", data, again)
	})
}

// TestRecordIsReadByExits: what "oomwitness why" reads of a record is what the shim wrote.
func TestRecordIsReadByExits(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1, 0).UTC()
	rec := Record{ID: "c", Boot: "b", Pid: 7, StartTicks: 8, Stops: []oom.Stop{{Signal: unix.SIGTERM}}, OOMExitCode: 42}
	require.NoError(t, WriteRecord(dir, rec))
	e, live, err := exits.ReadBundle(dir, "ns")
	require.NoError(t, err)
	require.Nil(t, e)
	require.Equal(t, &exits.Live{ID: "c", Namespace: "ns", Boot: "b", Pid: 7, StartTicks: 8}, live)

	rec = rec.Ended(oom.Exit{Pid: 7, Status: 137, At: at})
	rec.Verdict = &oom.Verdict{OOMKilled: true, Ended: oom.EndedOOM, Rule: oom.RuleInitVictim, Cause: oom.CauseNode}
	rec.Delivered = true
	line, err := rec.line()
	require.NoError(t, err)
	f, err := os.OpenFile(filepath.Join(dir, RecordFile), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(append(line, "{a line that was cut"...))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	e, live, err = exits.ReadBundle(dir, "ns")
	require.NoError(t, err)
	require.Nil(t, live)
	require.Equal(t, &exits.Exit{
		InBundle: true, Version: exits.Version, ID: "c", Namespace: "ns", Boot: "b", Pid: 7, StartTicks: 8, At: at, Status: 137, Reported: 42,
		Acked: true, Stops: []int{15}, Verdict: *rec.Verdict,
	}, e)
}
