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

// A shim that was started before an upgrade writes the old form for as long as its pod
// lives. Its removal is by the new program.
func TestARecordOfVersion2(t *testing.T) {
	const old = `{"version":2,"id":"c","boot":"b","pid":7,"startTicks":8,"probes":{"ledger":{"tgid":7}},"stops":[{"Signal":15,"Kills":1,"At":"0001-01-01T00:00:00Z"}],"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{"oomKilled":true,"cause":"container","initVictim":"no","kills":1,"ended":"oom","rule":4,"evidence":"ledger","tier":"A"},"acknowledged":true}`
	rec, err := parseRecord([]byte(old))
	require.NoError(t, err)
	require.Equal(t, []oom.Stop{{Signal: unix.SIGTERM, Kills: 1}}, rec.Stops)
	require.Nil(t, rec.Grace)
	require.Equal(t, oom.Verdict{
		OOMKilled: true, Cause: oom.CauseContainer, Init: oom.No, Kills: 1, Ended: oom.EndedOOM, Rule: oom.RuleWithinGrace,
		Evidence: "ledger", Tier: "A",
	}, *rec.Verdict)
	for _, bad := range []string{
		`{"version":1,"id":"c","pid":7}`, `{"version":4,"id":"c","pid":7}`, `{"version":3,"id":"c","pid":7,"graceNs":-1}`,
		`{"version":3,"id":"c","pid":7,"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{"rule":"5"}}`,
		`{"version":3,"id":"c","pid":7,"exitStatus":1,"exitedAt":"2026-01-02T03:04:05Z","verdict":{}}`,
	} {
		_, err := parseRecord([]byte(bad))
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
	grace := time.Minute
	own.Grace = &grace
	for _, r := range []Record{rec, ended, decided, own} {
		data, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(data)
		f.Add(append(data, '\n'))
	}
	f.Add([]byte("{\"version\":3,\"id\":\"c\",\"pid\":7,\"probes\":{\"a\":1}}\n{\"version\":3,\"id\":\"c\",\"pid\":7}\n{\"vers"))
	f.Add([]byte(`{"version":2,"id":"c","pid":7,"probes":{"ledger":{}},"exitStatus":256}`))
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
		_, err = parseRecord(again)
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
		Version: exits.Version, ID: "c", Namespace: "ns", Boot: "b", Pid: 7, StartTicks: 8, At: at, Status: 137, Reported: 42,
		Acked: true, Stops: []int{15}, Verdict: *rec.Verdict,
	}, e)
}
