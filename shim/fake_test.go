//go:build linux

package shim

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/runtime"
	"github.com/containerd/containerd/v2/pkg/protobuf"
	upstream "github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
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
	onStart  func()
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
	if f.onStart != nil {
		f.onStart()
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

// settle waits until the shim has done all that it can do without a timeout: an event
// that gives way to an answer included.
func settle() {
	time.Sleep(time.Millisecond / 2)
	synctest.Wait()
}
