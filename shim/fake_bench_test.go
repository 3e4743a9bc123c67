//go:build linux

package shim

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	runc "github.com/containerd/go-runc"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
)

// bench is a Service between fakes.
type bench struct {
	*Service
	task   *fakeTask
	events *fakeEvents
	source *fakeSource
	exits  chan runc.Exit
	sd     shutdown.Service
	ctx    context.Context
}

// newBench is for tests in a bubble of synctest: when one ends, it waits for what
// the shim still does before the bundles of its containers are removed.
func newBench(t *testing.T, change ...func(*bench, *Options)) *bench {
	t.Helper()
	t.TempDir() // the first of a test registers the removal of all of them, to be run after the cleanups below
	t.Cleanup(synctest.Wait)
	return newOpenBench(t, change...)
}

// newOpenBench is for tests without a bubble.
func newOpenBench(t *testing.T, change ...func(*bench, *Options)) *bench {
	t.Helper()
	ctx, sd := shutdown.WithShutdown(namespaces.WithNamespace(context.Background(), "test"))
	b := &bench{
		task:   &fakeTask{inits: make(map[string]*fakeInit), ctx: ctx},
		events: &fakeEvents{},
		source: &fakeSource{ev: make(map[string]oom.Evidence), pids: make(map[string]int)},
		exits:  make(chan runc.Exit),
		sd:     sd,
		ctx:    ctx,
	}
	o := Options{
		Config: config.Default(), Sources: []oom.Source{b.source}, Client: b.events,
		Hierarchy: func() (oom.Hierarchy, error) { return oom.Hierarchy{Version: 2, Mount: "/sys/fs/cgroup"}, nil },
		Exits:     b.exits, Shutdown: sd,
		Upstream: func(_ context.Context, p upstream.Publisher, _ shutdown.Service) (taskAPI.TTRPCTaskService, error) {
			b.task.pub = p
			return b.task, nil
		},
	}
	for _, c := range change {
		c(b, &o)
	}
	var err error
	b.Service, err = NewService(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		close(b.exits)
		sd.Shutdown()
		<-sd.Done()
		_ = b.queue.Close()
	})
	return b
}

func bubble(f func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, f) }
}

func (b *bench) create(t *testing.T, id string) {
	t.Helper()
	_, err := b.Create(b.ctx, &taskAPI.CreateTaskRequest{ID: id, Bundle: t.TempDir()})
	require.NoError(t, err)
}

// annotated returns a bundle whose spec has annotations, and more of its members.
func annotated(t *testing.T, annotations map[string]string, members ...string) string {
	t.Helper()
	text, err := json.Marshal(annotations)
	require.NoError(t, err)
	dir := t.TempDir()
	spec := "{" + strings.Join(append(members, `"annotations":`+string(text)), ",") + "}"
	require.NoError(t, os.WriteFile(filepath.Join(dir, bundle.SpecFile), []byte(spec), 0o640))
	return dir
}

// tombstones returns the containers that were deleted, by ID.
func (b *bench) tombstones() map[string]*container {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(b.containers)
	maps.DeleteFunc(all, func(_ string, c *container) bool { return !c.deleted.Load() })
	return all
}
