// Package cri is a small client of the container runtime interface (CRI), for tests that start
// pods and containers as kubelet does.
package cri

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Socket is where containerd serves CRI.
const Socket = "/run/containerd/containerd.sock"

// Namespace is the containerd namespace of everything that CRI makes.
const Namespace = "k8s.io"

// Client is a client of CRI that stays usable over restarts of the runtime.
type Client struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// Dial returns a client of the runtime at a Unix socket. The socket need not exist yet.
func Dial(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// The client must notice a returned runtime at once.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, fmt.Errorf("runtime %s: %w", socket, err)
	}
	return &Client{conn, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Version returns the runtime's version, and waits until the runtime answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	resp, err := c.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", fmt.Errorf("version: %w", err)
	}
	return resp.RuntimeVersion, nil
}

// HasImage reports whether the runtime knows an image.
func (c *Client) HasImage(ctx context.Context, ref string) (bool, error) {
	resp, err := c.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		return false, fmt.Errorf("status of image %s: %w", ref, err)
	}
	return resp.Image != nil, nil
}

// Driver returns the cgroup driver that the runtime reports to kubelet.
func (c *Client) Driver(ctx context.Context) (string, error) {
	resp, err := c.runtime.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if err != nil {
		return "", fmt.Errorf("runtime config: %w", err)
	}
	return strings.ToLower(resp.GetLinux().GetCgroupDriver().String()), nil
}

// Info returns the names of the runtime's handlers and CRI's configuration as JSON. containerd
// lists handlers since 2.0.
func (c *Client) Info(ctx context.Context) (handlers []string, config string, err error) {
	resp, err := c.runtime.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return nil, "", fmt.Errorf("status: %w", err)
	}
	for _, handler := range resp.GetRuntimeHandlers() {
		handlers = append(handlers, handler.GetName())
	}
	return handlers, resp.GetInfo()["config"], nil
}
