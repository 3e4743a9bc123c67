package node

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// answer bounds one question to containerd.
const answer = 10 * time.Second

// Handlers asks the CRI at a socket for its runtime handlers, which it lists
// since containerd 2.0.
func Handlers(ctx context.Context, socket string) ([]string, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	status, err := runtime.NewRuntimeServiceClient(conn).Status(ctx, &runtime.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", socket, err)
	}
	var names []string
	for _, handler := range status.GetRuntimeHandlers() {
		names = append(names, handler.GetName())
	}
	return names, nil
}
