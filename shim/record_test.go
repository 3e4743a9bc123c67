//go:build linux

package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// A shim can die at any time from Create on: what the record must hold by then.
func TestTheRecordIsThereFromCreateOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		read := func() record {
			synctest.Wait()
			rec, err := readRecord(b.container("c").bundle)
			require.NoError(t, err)
			return rec
		}
		rec := read()
		_, ended := rec.exit()
		require.False(t, ended)
		require.Equal(t, "c", rec.ID)
		require.Equal(t, b.container("c").initPid(), rec.Pid)
		require.Equal(t, bootID(), rec.Boot)
		require.Equal(t, map[string]json.RawMessage{"fake": json.RawMessage(`"c"`)}, rec.Probes)
		require.Empty(t, rec.Stops)

		_, err := b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)})
		require.NoError(t, err)
		require.Equal(t, []oom.Stop{{Signal: unix.SIGTERM}}, read().Stops)
		b.task.killErr = os.ErrProcessDone
		_, err = b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL)})
		require.Error(t, err)
		require.Equal(t, []oom.Stop{{Signal: unix.SIGTERM}}, read().Stops, "one that was not sent is none")

		b.task.exit(t, "c", 143)
		rec = read()
		e, ended := rec.exit()
		require.True(t, ended)
		require.Equal(t, 143, e.Status)
		require.Equal(t, oom.EndedStopped, rec.Verdict.Ended)
	})
}

// The status is recorded when init is reaped, while the evidence may yet hang.
func TestTheExitIsRecordedAtTheReap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.source.block = make(chan struct{}) })
		b.create(t, "c")
		b.task.exit(t, "c", 3)
		synctest.Wait()
		rec, err := readRecord(b.container("c").bundle)
		require.NoError(t, err)
		e, ended := rec.exit()
		require.True(t, ended)
		require.Equal(t, 3, e.Status)
		require.Nil(t, rec.Verdict)
		close(b.source.block)
		synctest.Wait()
	})
}

// Nothing is written into a bundle that is being removed.
func TestNothingIsRecordedAfterTheDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(b *bench, _ *Options) { b.events.fail = 20 })
		b.create(t, "c")
		isKilled(t, b)
		r := b.container("c")
		deletes(t, b)
		require.NoError(t, os.Remove(filepath.Join(r.bundle, recordFile)))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, "/tasks/oom c", b.events.all()[0], "acked after the delete")
		require.NoFileExists(t, filepath.Join(r.bundle, recordFile))
		require.Zero(t, b.counts.of("record not written"))
	})
}

func FuzzParseRecord(f *testing.F) {
	at := time.Unix(1, 0)
	rec := record{Version: recordVersion, ID: "c", Boot: "b", Pid: 7, StartTicks: 8, Stops: []oom.Stop{{Signal: unix.SIGTERM}}}
	ended := rec.ended(oom.Exit{Pid: 7, Status: 137, At: at})
	decided := ended
	decided.Verdict = &oom.Verdict{OOMKilled: true, Rule: 1}
	own := decided
	own.OOMExitCode, own.TrueStatus = ownStatus, true
	for _, r := range []record{rec, ended, decided, own} {
		data, err := json.Marshal(r)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"version":2,"id":"c","pid":7,"probes":{"ledger":{}},"exitStatus":256}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := parseRecord(data)
		if err != nil {
			return
		}
		if e, ok := rec.exit(); rec.Pid <= 0 || rec.ID == "" || ok && (e.Status < 0 || e.Status > 255) {
			t.Fatalf("%+v from %q", rec, data)
		}
		require.True(t, rec.OOMExitCode >= 0 && rec.OOMExitCode <= maxStatus, "%q", data)
		again, err := json.Marshal(rec)
		require.NoError(t, err)
		_, err = parseRecord(again)
		require.NoError(t, err, "%q written as %q", data, again)
	})
}
