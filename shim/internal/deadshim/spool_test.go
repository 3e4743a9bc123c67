//go:build linux

package deadshim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// spooling returns a dead shim's container with a spool, and its spec.
func spooling(t *testing.T, spec string) *deadBundle {
	t.Helper()
	g := newDeadBundle(t)
	g.Spool = filepath.Join(t.TempDir(), "exits")
	require.NoError(t, os.WriteFile(filepath.Join(g.Bundle, bundle.SpecFile), []byte(spec), 0o600))
	g.source.set(oom.Evidence{Kills: 1, Last: time.Now(), Init: oom.Yes})
	return g
}

const appSpec = `{"annotations":{"io.kubernetes.cri.sandbox-name":"web-1","io.kubernetes.cri.container-name":"app"}}`

// spooled removes the container, and returns the lines of the spool and the log.
func (g *deadBundle) spooled(t *testing.T) (list []exits.Exit, logged string) {
	t.Helper()
	var out bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&out)
	ctx := namespaces.WithNamespace(context.Background(), "k8s.io")
	ctx = log.WithLogger(ctx, logrus.NewEntry(logger))
	_, err := g.Run(ctx, func(context.Context, string) (upstream.StopStatus, error) { return g.removed, nil })
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(g.Spool, "current"))
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	list, damaged := exits.ParseAll(text)
	require.Zero(t, damaged)
	return list, out.String()
}

// The verdict of a dead shim's container outlives the bundle.
func TestTheExitIsSpooled(t *testing.T) {
	g := spooling(t, appSpec)
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	list, _ := g.spooled(t)
	require.Len(t, list, 1)
	require.Equal(t, oom.EndedOOM, list[0].Verdict.Ended)
	require.Equal(t, &exits.Pod{Name: "web-1", Container: "app"}, list[0].Pod)
	require.Equal(t, "k8s.io", list[0].Namespace)
	list, _ = g.spooled(t)
	require.Len(t, list, 1, "containerd asks again")
}

// A shim that died between its last record and the spool has left the line to the removal.
// One that died after it has not.
func TestTheExitOfARecordIsSpooledOnce(t *testing.T) {
	for name, delivered := range map[string]bool{"delivered": true, "not delivered": false} {
		t.Run(name, func(t *testing.T) {
			g := spooling(t, appSpec)
			g.rec = g.rec.Ended(oom.Exit{Pid: gone, Status: 137, At: time.Now()})
			g.rec.Verdict = &oom.Verdict{OOMKilled: true, Rule: oom.RuleInitVictim, Ended: oom.EndedOOM}
			g.rec.Delivered = delivered
			require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
			list, _ := g.spooled(t)
			require.Len(t, list, 1)
			require.Equal(t, delivered, list[0].Acked)

			require.NoError(t, os.RemoveAll(g.Spool))
			list[0].Memory = new(exits.Memory) // only the shim has it
			require.NoError(t, exits.Append(g.Spool, list[0]))
			list, _ = g.spooled(t)
			require.Len(t, list, 1)
			require.NotNil(t, list[0].Memory)
		})
	}
}

// A sandbox that was not OOM-killed is not in the spool, as where its shim lives.
func TestADeadShimsSandboxIsNotSpooled(t *testing.T) {
	const spec = `{"annotations":{"io.kubernetes.cri.sandbox-name":"web-1"}}`
	g := spooling(t, spec)
	g.source.set(oom.Evidence{})
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	list, _ := g.spooled(t)
	require.Empty(t, list)

	g = spooling(t, spec)
	require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
	list, _ = g.spooled(t)
	require.Len(t, list, 1)
}

// Without a spec the exit is spooled without names, and the log says so.
func TestTheExitWithoutASpec(t *testing.T) {
	for name, spec := range map[string]string{"none": "", "torn": `{"annotations":{"a":`} {
		t.Run(name, func(t *testing.T) {
			g := spooling(t, spec)
			if spec == "" {
				require.NoError(t, os.Remove(filepath.Join(g.Bundle, bundle.SpecFile)))
			}
			require.NoError(t, bundle.WriteRecord(g.Bundle, g.rec))
			list, logged := g.spooled(t)
			require.Len(t, list, 1)
			require.Nil(t, list[0].Pod)
			require.Contains(t, logged, "the spec cannot be read")
			require.Contains(t, logged, bundle.SpecFile)
		})
	}
}
