package resolve_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	containersapi "github.com/containerd/containerd/api/services/containers/v1"
	namespacesapi "github.com/containerd/containerd/api/services/namespaces/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/oomwitness/oomwitness/agent/internal/resolve"
)

// fake is a containerd with two namespaces.
type fake struct {
	containersapi.UnimplementedContainersServer
	hang   bool
	refuse map[string]codes.Code // by ID
	asked  []string              // namespaces
}

func (f *fake) Get(ctx context.Context, r *containersapi.GetContainerRequest) (*containersapi.GetContainerResponse, error) {
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if code := f.refuse[r.ID]; code != codes.OK {
		return nil, status.Error(code, "refused")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	ns := md.Get("containerd-namespace")[0]
	f.asked = append(f.asked, ns)
	labels := map[string]string{
		"io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "web-1", "io.kubernetes.pod.namespace": "shop",
		"io.kubernetes.pod.uid": "u-1",
	}
	switch {
	case ns == "k8s.io" && r.ID == "cri":
		return &containersapi.GetContainerResponse{Container: &containersapi.Container{ID: r.ID, Image: "shop:1", Labels: labels}}, nil
	case ns == "default" && r.ID == "web":
		return &containersapi.GetContainerResponse{Container: &containersapi.Container{ID: r.ID, Image: "busybox", Labels: labels}}, nil
	}
	return nil, status.Error(codes.NotFound, "no such container")
}

type fakeNamespaces struct {
	namespacesapi.UnimplementedNamespacesServer
}

func (fakeNamespaces) List(context.Context, *namespacesapi.ListNamespacesRequest) (*namespacesapi.ListNamespacesResponse, error) {
	return &namespacesapi.ListNamespacesResponse{Namespaces: []*namespacesapi.Namespace{{Name: "default"}, {Name: "k8s.io"}}}, nil
}

func serve(t *testing.T, f *fake) *resolve.Containerd {
	t.Helper()
	address := filepath.Join(t.TempDir(), "s")
	listen(t, f, address)
	client := resolve.NewContainerd(address)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// listen serves at an address until the server is stopped, or the test ends.
func listen(t *testing.T, f *fake, address string) *grpc.Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", address)
	require.NoError(t, err)
	server := grpc.NewServer()
	containersapi.RegisterContainersServer(server, f)
	namespacesapi.RegisterNamespacesServer(server, fakeNamespaces{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return server
}

// TestContainerdComesBack: one that comes later, or is started again, is asked soon.
func TestContainerdComesBack(t *testing.T) {
	address := filepath.Join(t.TempDir(), "s")
	client := resolve.NewContainerd(address)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	for _, id := range []string{"cri", "web"} {
		_, ok := client.Lookup(t.Context(), id)
		require.False(t, ok)
		require.Error(t, client.Err())
		server := listen(t, &fake{}, address)
		require.Eventually(t, func() bool {
			_, ok := client.Lookup(t.Context(), id)
			return ok
		}, 20*time.Second, 10*time.Millisecond)
		require.NoError(t, client.Err())
		server.Stop()
	}
}

func TestLookup(t *testing.T) {
	f := &fake{}
	client := serve(t, f)
	for range 2 {
		info, ok := client.Lookup(t.Context(), "cri")
		require.True(t, ok)
		require.Equal(t, resolve.ContainerInfo{Namespace: "k8s.io", Image: "shop:1", Name: "app", Pod: "web-1", PodNamespace: "shop", PodUID: "u-1"}, info)
	}
	require.Equal(t, []string{"k8s.io"}, f.asked, "Kubernetes first, and once")
	info, ok := client.Lookup(t.Context(), "web")
	require.True(t, ok)
	require.Equal(t, resolve.ContainerInfo{Namespace: "default", Image: "busybox"}, info)
	_, ok = client.Lookup(t.Context(), "other")
	require.False(t, ok)
	_, ok = client.Lookup(t.Context(), "")
	require.False(t, ok)
}

// TestOddIDs: a name that no container has is not asked for, and does not end the
// questions for others. Whoever makes cgroups chooses such names.
func TestOddIDs(t *testing.T) {
	f := &fake{}
	client := serve(t, f)
	for _, id := range []string{"\xff\xfe", "a\x00b", "a\nb", "\x1b[2J", "a/b", "..", "-a", strings.Repeat("a", 77), "\u202eabc"} {
		_, ok := client.Lookup(t.Context(), id)
		require.False(t, ok, "%q", id)
	}
	require.Empty(t, f.asked)
	_, ok := client.Lookup(t.Context(), "cri")
	require.True(t, ok)
}

// TestAbsent: of an ID that containerd does not have it is not asked at each kill.
func TestAbsent(t *testing.T) {
	f := &fake{}
	client := serve(t, f)
	for range 100 {
		_, ok := client.Lookup(t.Context(), "nobody")
		require.False(t, ok)
	}
	require.Equal(t, []string{"k8s.io", "default"}, f.asked)
	for n := range 3000 {
		client.Lookup(t.Context(), fmt.Sprint("n", n))
	}
	require.LessOrEqual(t, client.Absent(), 1024)
}

// TestRefusal: an answer that is an error is of one container, whatever the error is.
func TestRefusal(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if code == codes.Unavailable || code == codes.DeadlineExceeded {
			continue // containerd is not there, or too slow
		}
		client := serve(t, &fake{refuse: map[string]codes.Code{"bad": code}})
		_, ok := client.Lookup(t.Context(), "bad")
		require.False(t, ok)
		_, ok = client.Lookup(t.Context(), "cri")
		require.True(t, ok, "after %v", code)
	}
}

func TestContainerdThatHangs(t *testing.T) {
	client := serve(t, &fake{hang: true})
	start := time.Now()
	for range 1000 {
		_, ok := client.Lookup(t.Context(), "cri")
		require.False(t, ok)
	}
	require.Less(t, time.Since(start), 4*time.Second, "asked once, then left alone")
}

func TestNoContainerd(t *testing.T) {
	for _, address := range []string{"", "/nowhere/containerd.sock"} {
		client := resolve.NewContainerd(address)
		_, ok := client.Lookup(t.Context(), "cri")
		require.False(t, ok)
		require.Equal(t, address != "", client.Err() != nil)
		require.NoError(t, client.Close())
	}
}
