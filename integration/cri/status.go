package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Status is the runtime's report of a container that has exited.
type Status struct {
	Code     int32
	Reason   string
	Finished time.Time
}

// Ended returns the IDs of the containers that the runtime reports as exited.
func (c *Client) Ended(ctx context.Context) ([]string, error) {
	resp, err := c.runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{
			State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	ids := make([]string, 0, len(resp.Containers))
	for _, k := range resp.Containers {
		ids = append(ids, k.Id)
	}
	return ids, nil
}

// Pods returns the IDs of the pods, whatever their state.
func (c *Client) Pods(ctx context.Context) ([]string, error) {
	resp, err := c.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	ids := make([]string, 0, len(resp.Items))
	for _, p := range resp.Items {
		ids = append(ids, p.Id)
	}
	return ids, nil
}

// Status returns the status of a container, nil as long as the container has not exited.
func (c *Client) Status(ctx context.Context, id string) (*Status, error) {
	resp, err := c.runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return nil, fmt.Errorf("status of container %s: %w", id, err)
	}
	s := resp.Status
	if s.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		return nil, nil
	}
	return &Status{Code: s.ExitCode, Reason: s.Reason, Finished: time.Unix(0, s.FinishedAt)}, nil
}
