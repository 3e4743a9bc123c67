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
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// A shim can die at any time from Create on: what the record must hold by then.
func TestTheRecordIsThereFromCreateOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		read := func() bundle.Record {
			settle()
			rec, err := bundle.ReadRecord(b.container("c").bundle)
			require.NoError(t, err)
			return rec
		}
		rec := read()
		_, ended := rec.Exit()
		require.False(t, ended)
		require.Equal(t, "c", rec.ID)
		require.Equal(t, b.container("c").initPid(), rec.Pid)
		boot, err := oom.BootID()
		require.NoError(t, err)
		require.Equal(t, boot, rec.Boot)
		require.Equal(t, map[string]json.RawMessage{"fake": json.RawMessage(`"c"`)}, rec.Probes)
		require.Empty(t, rec.Stops)

		asked := []oom.Stop{{Signal: unix.SIGTERM, At: time.Now().UTC()}}
		_, err = b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGTERM)})
		require.NoError(t, err)
		require.Equal(t, asked, read().Stops)
		b.task.killErr = os.ErrProcessDone
		_, err = b.Kill(b.ctx, &taskAPI.KillRequest{ID: "c", Signal: uint32(unix.SIGKILL)})
		require.Error(t, err)
		require.Equal(t, asked, read().Stops, "one that was not sent is none")

		b.task.exit(t, "c", 143)
		rec = read()
		e, ended := rec.Exit()
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
		settle()
		rec, err := bundle.ReadRecord(b.container("c").bundle)
		require.NoError(t, err)
		e, ended := rec.Exit()
		require.True(t, ended)
		require.Equal(t, 3, e.Status)
		require.Nil(t, rec.Verdict)
		close(b.source.block)
		settle()
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
		require.NoError(t, os.Remove(filepath.Join(r.bundle, bundle.RecordFile)))
		time.Sleep(time.Hour)
		settle()
		require.Equal(t, "/tasks/oom c", b.events.all()[0], "acked after the delete")
		require.NoFileExists(t, filepath.Join(r.bundle, bundle.RecordFile))
		require.Zero(t, b.counts.of("record not written"))
	})
}
