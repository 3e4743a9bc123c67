package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Handlers asks the CRI plugin at a socket for its runtime handlers. containerd lists them
// since 2.0. 1.6 and 1.7 have them only in the configuration in the answer to a verbose Status
// (Status in pkg/cri/server/status.go of 1.7).
func Handlers(ctx context.Context, socket string) ([]string, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	status, err := runtime.NewRuntimeServiceClient(conn).Status(ctx, &runtime.StatusRequest{Verbose: true})
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	var names []string
	for _, handler := range status.GetRuntimeHandlers() {
		names = append(names, handler.GetName())
	}
	if len(names) > 0 {
		return names, nil
	}
	if names, err = configured(status.GetInfo()["config"]); err != nil {
		return nil, fmt.Errorf("containerd at %s: configuration in the answer to Status: %w", socket, err)
	}
	return names, nil
}

// configured returns the handlers in CRI's configuration as JSON.
func configured(config string) ([]string, error) {
	var cri struct {
		Containerd struct {
			Runtimes map[string]json.RawMessage `json:"runtimes"`
		} `json:"containerd"`
	}
	if err := json.Unmarshal([]byte(config), &cri); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(cri.Containerd.Runtimes)), nil
}
