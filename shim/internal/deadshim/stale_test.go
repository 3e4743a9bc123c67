//go:build linux

package deadshim

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// A dead shim's socket goes, one that is answered on stays, and so does all that
// is not a socket.
func TestOnlyADeadSocketIsRemoved(t *testing.T) {
	for name, text := range map[string]string{
		bootstrap.ResultFile:  `{"version":3,"address":"unix://%s","protocol":"ttrpc"}`,
		bootstrap.AddressFile: "unix://%s",
	} {
		t.Run(name, func(t *testing.T) { testSocketIsRemoved(t, name, text) })
	}
}

func testSocketIsRemoved(t *testing.T, name, text string) {
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "s")
	removeSocket(dir) // no note
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, text, path), 0o600))
	removeSocket(dir) // no socket

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	removeSocket(dir)
	require.NoError(t, os.Remove(path), "a file")

	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	removeSocket(dir)
	require.FileExists(t, path)
	require.NoError(t, l.Close())
	require.FileExists(t, path)
	removeSocket(dir)
	require.NoFileExists(t, path)
}

// Whatever stands in a dead shim's bundle, its container is removed, and has a
// status and a time.
func FuzzDeadShimsBundle(f *testing.F) {
	record := `{"version":1,"id":"c","boot":"` + bootID(f) + `","pid":4194311,"probes":{"fake":"c"}`
	socket := []byte(`{"address":"unix:///nowhere/s"}`)
	f.Add([]byte(record+"}\n"), socket, []byte(`{"Pid":4194311,"Status":137,"Timestamp":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(record+`,"exitStatus":3,"exitedAt":"2026-01-01T00:00:00Z"}`+"\n"), []byte(`{}`), []byte(``))
	f.Add([]byte(record+`,"exitStatus":3,"exitedAt":"0001-01-01T00:00:00Z"}`+"\n"), []byte(`{}`), []byte(``))
	f.Add([]byte(record+`,"stops":[{"Signal":9}]}`+"\n"), []byte(``), []byte(`{`))
	f.Fuzz(func(t *testing.T, record, result, exit []byte) {
		g := newDeadBundle(t)
		g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
		for name, data := range map[string][]byte{
			bundle.RecordFile: record, bootstrap.ResultFile: result, "exit.json": exit,
		} {
			require.NoError(t, os.WriteFile(filepath.Join(g.Bundle, name), data, 0o600))
		}
		status, err := g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) { return g.removed, nil })
		require.NoError(t, err)
		require.False(t, status.ExitedAt.IsZero(), "%+v", status)
		require.True(t, status.ExitStatus >= 0 && status.ExitStatus <= 255, "%+v", status)
		require.LessOrEqual(t, len(g.events.all()), 1)
	})
}

// What a dead shim has left is ended before it is removed, which containerd may
// break off; a process that has got init's number is not.
func TestAContainerEndsBeforeItIsRemoved(t *testing.T) {
	for name, tc := range map[string]struct {
		later uint64
		ends  bool
	}{"its init": {0, true}, "another": {1, false}} {
		t.Run(name, func(t *testing.T) {
			pid, ticks := sleeper(t)
			g := newDeadBundle(t)
			g.rec.Pid, g.rec.StartTicks = pid, ticks+tc.later
			require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
			_, err := g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) {
				if tc.ends {
					require.Eventually(t, func() bool { return !bpf.Running(pid, ticks) }, time.Minute, time.Millisecond)
				} else {
					require.True(t, bpf.Running(pid, ticks))
				}
				return g.removed, nil
			})
			require.NoError(t, err)
			require.False(t, g.verdict(t).OOMKilled)
		})
	}
}
