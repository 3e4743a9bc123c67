// Package cri is a small client of the container runtime interface, for tests:
// pods and containers by the road that kubelet takes.
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

// Namespace is containerd's for everything that CRI makes.
const Namespace = "k8s.io"

// Client speaks CRI. It outlives the restarts of its runtime.
type Client struct {
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
}

// Dial makes a client of the runtime at a Unix socket, which need not be there
// yet.
func Dial(socket string) (*Client, error) {
	conn, err := grpc.NewClient("unix://"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A runtime that comes back is to be seen at once.
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

// Version gives the runtime's version, once it answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	resp, err := c.runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return "", fmt.Errorf("version: %w", err)
	}
	return resp.RuntimeVersion, nil
}

// HasImage says whether the runtime knows an image.
func (c *Client) HasImage(ctx context.Context, ref string) (bool, error) {
	resp, err := c.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		return false, fmt.Errorf("status of image %s: %w", ref, err)
	}
	return resp.Image != nil, nil
}

// Driver is the cgroup driver that the runtime tells kubelet.
func (c *Client) Driver(ctx context.Context) (string, error) {
	resp, err := c.runtime.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if err != nil {
		return "", fmt.Errorf("runtime config: %w", err)
	}
	return strings.ToLower(resp.GetLinux().GetCgroupDriver().String()), nil
}

// Info returns the runtime's handlers, as far as it lists them (containerd does
// since 2.0), and the configuration that CRI has as JSON.
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
