//go:build linux

package shim

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	runc "github.com/containerd/go-runc"
	"github.com/containerd/ttrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/shim/config"
	"github.com/oomwitness/oomwitness/shim/internal/bundle"
	"github.com/oomwitness/oomwitness/shim/internal/delivery"
)

// fakeTask stands for upstream's service, to force an order of events that the
// real one shows only now and then. It proves nothing about the real one.
type fakeTask struct {
	taskAPI.TTRPCTaskService
	pub upstream.Publisher
	ctx context.Context

	mu       sync.Mutex
	inits    map[string]*fakeInit
	killErr  error
	pidsErr  error
	stateErr error
	onKill   func()
	onDelete func()
	onStats  func()
	// onCall is called with the name of a State, Wait, Pids or Stats, which has found nothing yet.
	onCall func(name string)
	// onLeft is called when a Delete has removed the task, and says so to nobody yet.
	onLeft func()
	stats  typeurl.Any // nil where the cgroup is gone
	// updates are the resources that were asked for.
	updates   []string
	updateErr error
	// late has the TaskDelete wait for it, as upstream's may come at any time.
	late chan struct{}
}

type fakeInit struct {
	pid    int
	status int
	at     time.Time
	done   chan struct{}
}

func (f *fakeTask) init(id string) (*fakeInit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.inits[id]; i != nil {
		return i, nil
	}
	return nil, errgrpc.ToGRPCf(errdefs.ErrNotFound, "container not created")
}

func (f *fakeTask) called(name string) {
	if f.onCall != nil {
		f.onCall(name)
	}
}

func (f *fakeTask) Create(_ context.Context, r *taskAPI.CreateTaskRequest) (*taskAPI.CreateTaskResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inits[r.ID] != nil {
		return nil, errgrpc.ToGRPCf(errdefs.ErrAlreadyExists, "%s", r.ID)
	}
	i := &fakeInit{pid: 1<<22 + len(f.inits) + 1, done: make(chan struct{})}
	f.inits[r.ID] = i
	if r.Checkpoint != "" { // its init comes with Start
		return &taskAPI.CreateTaskResponse{}, nil
	}
	return &taskAPI.CreateTaskResponse{Pid: uint32(i.pid)}, nil
}

func (f *fakeTask) Start(_ context.Context, r *taskAPI.StartRequest) (*taskAPI.StartResponse, error) {
	i, err := f.init(r.ID)
	if err != nil {
		return nil, err
	}
	return &taskAPI.StartResponse{Pid: uint32(i.pid)}, nil
}

func (f *fakeTask) Wait(ctx context.Context, r *taskAPI.WaitRequest) (*taskAPI.WaitResponse, error) {
	f.called("Wait")
	i, err := f.init(r.ID)
	if err != nil || r.ExecID != "" {
		return &taskAPI.WaitResponse{ExitStatus: 9}, err
	}
	select {
	case <-i.done:
		return &taskAPI.WaitResponse{ExitStatus: uint32(i.status), ExitedAt: protobuf.ToTimestamp(i.at)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fakeTask) State(_ context.Context, r *taskAPI.StateRequest) (*taskAPI.StateResponse, error) {
	f.called("State")
	i, err := f.init(r.ID)
	if err != nil {
		return nil, err
	}
	if f.stateErr != nil {
		return nil, f.stateErr
	}
	resp := &taskAPI.StateResponse{ID: r.ID, Pid: uint32(i.pid), Status: tasktypes.Status_RUNNING}
	if opened(i.done) {
		resp.Status, resp.ExitStatus, resp.ExitedAt = tasktypes.Status_STOPPED, uint32(i.status), protobuf.ToTimestamp(i.at)
	}
	return resp, nil
}

func (f *fakeTask) Connect(context.Context, *taskAPI.ConnectRequest) (*taskAPI.ConnectResponse, error) {
	return &taskAPI.ConnectResponse{}, nil
}

// Pids does as runc's ps: it returns no processes once init has ended.
func (f *fakeTask) Pids(_ context.Context, r *taskAPI.PidsRequest) (*taskAPI.PidsResponse, error) {
	f.called("Pids")
	i, err := f.init(r.ID)
	if err != nil {
		return nil, err
	}
	if f.pidsErr != nil {
		return nil, f.pidsErr
	}
	resp := &taskAPI.PidsResponse{}
	if !opened(i.done) {
		resp.Processes = []*tasktypes.ProcessInfo{{Pid: uint32(i.pid)}, {Pid: 42}}
	}
	return resp, nil
}

func (f *fakeTask) Kill(context.Context, *taskAPI.KillRequest) (*emptyResponse, error) {
	if f.onKill != nil {
		f.onKill()
	}
	return &emptyResponse{}, f.killErr
}

func (f *fakeTask) Delete(_ context.Context, r *taskAPI.DeleteRequest) (*taskAPI.DeleteResponse, error) {
	i, err := f.init(r.ID)
	if err != nil {
		return nil, err
	}
	if f.onDelete != nil {
		f.onDelete()
	}
	if !opened(i.done) {
		return nil, errgrpc.ToGRPC(errors.New("cannot delete a running process"))
	}
	f.mu.Lock()
	delete(f.inits, r.ID)
	f.mu.Unlock()
	if f.onLeft != nil {
		f.onLeft()
	}
	publish := func() {
		_ = f.pub.Publish(f.ctx, runtime.TaskDeleteEventTopic, &eventsapi.TaskDelete{
			ContainerID: r.ID, ExitStatus: uint32(i.status), ExitedAt: protobuf.ToTimestamp(i.at),
		})
	}
	if f.late != nil {
		go func() { <-f.late; publish() }()
	} else {
		publish()
	}
	return &taskAPI.DeleteResponse{
		Pid: uint32(i.pid), ExitStatus: uint32(i.status), ExitedAt: protobuf.ToTimestamp(i.at),
	}, nil
}

func (f *fakeTask) Update(_ context.Context, r *taskAPI.UpdateTaskRequest) (*emptyResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.updates = append(f.updates, string(r.Resources.GetValue()))
	return &emptyResponse{}, f.updateErr
}

func (f *fakeTask) Stats(_ context.Context, r *taskAPI.StatsRequest) (*taskAPI.StatsResponse, error) {
	f.called("Stats")
	if f.onStats != nil {
		f.onStats()
	}
	if _, err := f.init(r.ID); err != nil {
		return nil, err
	}
	if f.stats != nil {
		return &taskAPI.StatsResponse{Stats: typeurl.MarshalProto(f.stats)}, nil
	}
	return nil, errgrpc.ToGRPCf(errdefs.ErrNotFound, "cgroup does not exist")
}

// exit does what upstream does at an init's end: it releases Wait and State and
// then publishes TaskExit.
func (f *fakeTask) exit(t *testing.T, id string, status int) {
	t.Helper()
	f.publishExit(t, id, f.end(t, id, status))
}

// end releases Wait, State and Delete.
func (f *fakeTask) end(t *testing.T, id string, status int) *fakeInit {
	t.Helper()
	i, err := f.init(id)
	require.NoError(t, err)
	i.status, i.at = status, time.Now()
	close(i.done)
	return i
}

// publishExit publishes TaskExit.
func (f *fakeTask) publishExit(t *testing.T, id string, i *fakeInit) {
	t.Helper()
	require.NoError(t, f.pub.Publish(f.ctx, runtime.TaskExitEventTopic, &eventsapi.TaskExit{
		ContainerID: id, ID: id, Pid: uint32(i.pid), ExitStatus: uint32(i.status), ExitedAt: protobuf.ToTimestamp(i.at),
	}))
}

// fakeEvents stands for containerd's end of the wire.
type fakeEvents struct {
	mu    sync.Mutex
	acked []string // topic and container, in the order of ack
	// statuses and times are those of the TaskExits and TaskDeletes.
	statuses []uint32
	times    []time.Time
	fail     int // errors to give first
	down     bool
	instance delivery.Instance // one less than the number
	hold     func(topic, id string) <-chan struct{}
}

func (f *fakeEvents) Forward(ctx context.Context, env *types.Envelope, to delivery.Instance) error {
	event, err := typeurl.UnmarshalAny(env.Event)
	if err != nil {
		return err
	}
	id := event.(interface{ GetContainerID() string }).GetContainerID()
	f.mu.Lock()
	failing := f.fail > 0 || f.down
	f.fail -= min(f.fail, 1)
	hold, instance := f.hold, f.instance
	f.mu.Unlock()
	if failing {
		return errors.New("not today")
	}
	if to != delivery.AnyInstance && to != instance+1 {
		return delivery.ErrOtherInstance
	}
	if hold != nil {
		if c := hold(env.Topic, id); c != nil {
			select {
			case <-c:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.instance != instance {
		return ttrpc.ErrClosed
	}
	f.acked = append(f.acked, env.Topic+" "+id)
	if e, ok := event.(interface{ GetExitStatus() uint32 }); ok {
		f.statuses = append(f.statuses, e.GetExitStatus())
	}
	if e, ok := event.(interface{ GetExitedAt() *timestamppb.Timestamp }); ok {
		f.times = append(f.times, e.GetExitedAt().AsTime())
	}
	return nil
}

func (f *fakeEvents) Instance() delivery.Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.instance + 1
}

// stop has containerd take no more events, as it does first when it is stopped in
// good order.
func (f *fakeEvents) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
}

// die ends containerd: nothing is acked until it is back.
func (f *fakeEvents) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	f.instance++
}

// back has another containerd ack events; what was acked before is lost.
func (f *fakeEvents) back() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.acked = false, nil
}

// holdOOM has every TaskOOM wait until the channel is closed.
func (f *fakeEvents) holdOOM() chan struct{} {
	answer := make(chan struct{})
	f.hold = func(topic, _ string) <-chan struct{} {
		if topic == runtime.TaskOOMEventTopic {
			return answer
		}
		return nil
	}
	return answer
}

func (f *fakeEvents) Close() error { return nil }

func (f *fakeEvents) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.acked)
}

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
