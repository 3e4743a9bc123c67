//go:build linux

package bundle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

func FuzzParseRecord(f *testing.F) {
	at := time.Unix(1, 0)
	rec := Record{Version: recordVersion, ID: "c", Boot: "b", Pid: 7, StartTicks: 8, Stops: []oom.Stop{{Signal: unix.SIGTERM}}}
	ended := rec.Ended(oom.Exit{Pid: 7, Status: 137, At: at})
	decided := ended
	decided.Verdict = &oom.Verdict{OOMKilled: true, Rule: 1}
	own := decided
	own.OOMExitCode, own.TrueStatus = 217, true
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
