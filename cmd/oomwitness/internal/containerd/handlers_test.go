package containerd_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/containerd"
)

// cri answers Status as the CRI plugin of a containerd does. The answers of each version are
// tested in integration/configs.
type cri struct {
	runtime.UnimplementedRuntimeServiceServer
	answer *runtime.StatusResponse
}

func (c cri) Status(_ context.Context, request *runtime.StatusRequest) (*runtime.StatusResponse, error) {
	if !request.Verbose {
		return &runtime.StatusResponse{RuntimeHandlers: c.answer.RuntimeHandlers}, nil
	}
	return c.answer, nil
}

func TestHandlers(t *testing.T) {
	for name, test := range map[string]struct {
		answer *runtime.StatusResponse
		want   []string
		err    string
	}{
		"listed": {answer: &runtime.StatusResponse{
			RuntimeHandlers: []*runtime.RuntimeHandler{{Name: ""}, {Name: "oomwitness"}},
			Info:            map[string]string{"config": `{"containerd":{"runtimes":{"other":{}}}}`},
		}, want: []string{"", "oomwitness"}},
		"in the configuration alone": {answer: &runtime.StatusResponse{
			Info: map[string]string{"config": `{"containerd":{"runtimes":{"runc":{"runtimeType":"x"},"oomwitness":{}}},"x":1}`},
		}, want: []string{"oomwitness", "runc"}},
		"nowhere":  {answer: &runtime.StatusResponse{Info: map[string]string{"config": "{}"}}},
		"not JSON": {answer: &runtime.StatusResponse{Info: map[string]string{"config": "runtimes"}}, err: "configuration in the answer to Status"},
		"no info":  {answer: &runtime.StatusResponse{}, err: "configuration in the answer to Status"},
	} {
		t.Run(name, func(t *testing.T) {
			// t.TempDir is too long: a socket's path has at most 108 bytes.
			dir, err := os.MkdirTemp("", "oomw")
			require.NoError(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			socket := filepath.Join(dir, "sock")
			listener, err := net.Listen("unix", socket)
			require.NoError(t, err)
			server := grpc.NewServer()
			runtime.RegisterRuntimeServiceServer(server, cri{answer: test.answer})
			done := make(chan error, 1)
			go func() { done <- server.Serve(listener) }()
			t.Cleanup(func() {
				server.Stop()
				require.NoError(t, <-done)
			})
			got, err := containerd.Handlers(t.Context(), socket)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}
