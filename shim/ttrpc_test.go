//go:build linux

package shim

import (
	"net"
	"path/filepath"
	"testing"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The two versions of the task service have the same methods, and their messages
// the same fields. We serve all of them.
func TestTheTaskServicesAreAlike(t *testing.T) {
	v2 := taskv2.File_runtime_task_v2_shim_proto.Services().ByName("Task")
	v3 := taskAPI.File_runtime_task_v3_shim_proto.Services().ByName("Task")
	require.Equal(t, protoreflect.FullName(taskV2), v2.FullName())
	require.Equal(t, v2.Methods().Len(), v3.Methods().Len())
	served := methods(&fakeTask{})
	require.Len(t, served, v2.Methods().Len())
	for i := range v2.Methods().Len() {
		m := v2.Methods().Get(i)
		require.Contains(t, served, string(m.Name()))
		other := v3.Methods().ByName(m.Name())
		require.NotNil(t, other, m.FullName())
		requireSameFields(t, m.Input(), other.Input())
		requireSameFields(t, m.Output(), other.Output())
	}
}

// requireSameFields: a later version may have more fields, which the other skips.
func requireSameFields(t *testing.T, v2, v3 protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range v2.Fields().Len() {
		want := v2.Fields().Get(i)
		got := v3.Fields().ByNumber(want.Number())
		require.NotNil(t, got, want.FullName())
		require.Equal(t, want.Name(), got.Name())
		require.Equal(t, want.Kind(), got.Kind(), want.FullName())
		require.Equal(t, want.Cardinality(), got.Cardinality(), want.FullName())
	}
}

// A client of each version gets the same answers and the same errors.
func TestBothTaskServicesAnswer(t *testing.T) {
	task := &fakeTask{inits: map[string]*fakeInit{"c": {pid: 7, done: make(chan struct{})}}}
	server, err := ttrpc.NewServer()
	require.NoError(t, err)
	registerTask(server, task)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(t.Context(), l) }()
	conn, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	client := ttrpc.NewClient(conn)

	for _, id := range []string{"c", "none"} {
		v2, err2 := taskv2.NewTTRPCTaskClient(client).State(t.Context(), &taskv2.StateRequest{ID: id})
		v3, err3 := taskAPI.NewTTRPCTaskClient(client).State(t.Context(), &taskAPI.StateRequest{ID: id})
		require.Equal(t, err3, err2)
		require.Equal(t, id == "none", errdefs.IsNotFound(errgrpc.ToNative(err2)))
		require.Equal(t, v3.GetPid(), v2.GetPid())
		require.Equal(t, v3.GetStatus(), v2.GetStatus())
	}
	started, err := taskv2.NewTTRPCTaskClient(client).Start(t.Context(), &taskv2.StartRequest{ID: "c"})
	require.NoError(t, err)
	require.EqualValues(t, 7, started.Pid)

	require.NoError(t, client.Close())
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, ttrpc.ErrServerClosed)
}
