//go:build linux

package deadshim

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/api/types"
	crunc "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bootstrap"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// deadBundle is a container whose shim has died, and what finds out how it ended.
type deadBundle struct {
	*Removal
	events *fakeEvents
	source *fakeSource
	rec    bundle.Record
	// removed is what upstream answers, and seen what containerd had by then.
	removed upstream.StopStatus
	seen    []string
	// left is what was left to a deferred publisher.
	left []*types.Envelope
	// leftFirst is how many were left before upstream's part.
	leftFirst int
}

// inTest is the context of the program.
var inTest = namespaces.WithNamespace(context.Background(), "test")

func count(string) uint64 { return 1 }

const gone = 1<<22 + 7 // above the kernel's PID_MAX_LIMIT

func newDeadBundle(t *testing.T) *deadBundle {
	t.Helper()
	g := &deadBundle{
		events:  &fakeEvents{},
		source:  &fakeSource{},
		removed: upstream.StopStatus{Pid: 1, ExitStatus: statusUnknown, ExitedAt: time.Now().Add(time.Hour)},
		rec: bundle.Record{
			ID: "c", Boot: bootID(t), Pid: gone, StartTicks: 1, Grace: config.Default().Grace,
			Probes: map[string]json.RawMessage{"fake": json.RawMessage(`"c"`)},
		},
	}
	g.Removal = &Removal{
		ID: "c", Bundle: t.TempDir(),
		Config: config.Default(), Sources: func() []oom.Source { return []oom.Source{g.source} }, Client: g.events, Count: count,
		Reachable: func() bool { return true },
		Defer: func(env *types.Envelope) (func(), error) {
			g.left = append(g.left, env)
			return func() { g.left = nil }, nil
		},
	}
	return g
}

func (g *deadBundle) remove(t *testing.T) upstream.StopStatus {
	t.Helper()
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	return g.stopOnce(t)
}

func (g *deadBundle) stopOnce(t *testing.T) upstream.StopStatus {
	t.Helper()
	status, err := g.Run(inTest, func(context.Context, string) (upstream.StopStatus, error) {
		synctest.Wait()
		g.seen, g.leftFirst = g.events.all(), len(g.left)
		return g.removed, nil
	})
	require.NoError(t, err)
	return status
}

// exited has upstream's part of the shim record the exit; its answer is that.
func (g *deadBundle) exited(t *testing.T, status int, at time.Time) {
	t.Helper()
	g.removed = upstream.StopStatus{Pid: g.rec.Pid, ExitStatus: status, ExitedAt: at}
	require.NoError(t, crunc.WriteExitStatus(g.Bundle, runc.Exit{Pid: g.rec.Pid, Status: status, Timestamp: at}))
}

// live has the container's shim answer.
func (g *deadBundle) live(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", g.socket(t))
	require.NoError(t, err)
	server, err := ttrpc.NewServer()
	require.NoError(t, err)
	go func() { _ = server.Serve(context.Background(), l) }()
	t.Cleanup(func() { _ = server.Close() })
}

// socket returns the path of the shim's socket, which the bundle has noted.
func (g *deadBundle) socket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(g.Bundle, "s")
	note := []byte(`{"version":3,"address":"unix://` + path + `","protocol":"ttrpc"}`)
	require.NoError(t, os.WriteFile(filepath.Join(g.Bundle, bootstrap.ResultFile), note, 0o600))
	return path
}

func (g *deadBundle) verdict(t *testing.T) oom.Verdict {
	t.Helper()
	rec, err := bundle.ReadRecord(g.Bundle)
	require.NoError(t, err)
	require.NotNil(t, rec.Verdict)
	return *rec.Verdict
}

// sleeper returns a process that runs until the test ends or somebody kills it.
func sleeper(t *testing.T) (pid int, startTicks uint64) {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	startTicks, err := bpf.StartTicks(cmd.Process.Pid)
	require.NoError(t, err)
	return cmd.Process.Pid, startTicks
}
