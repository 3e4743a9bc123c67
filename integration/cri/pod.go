package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Pod describes a pod. The pod uses the node's network, so that no network has to be set up.
type Pod struct {
	Name string
	// Handler is the name of the runtime handler, "" for the default.
	Handler string
	// CgroupParent is the pod's cgroup, in the form of the cgroup driver.
	CgroupParent string
	Annotations  map[string]string
}

// Sandbox is a running pod.
type Sandbox struct {
	ID     string
	config *runtimeapi.PodSandboxConfig
}

// Container describes a container.
type Container struct {
	Name    string
	Image   string
	Command []string
	// Limit is the memory limit, bytes.
	Limit int64
	// Mounts has folders of the node by their path in the container.
	Mounts map[string]string
}

// RunPod starts a pod.
func (c *Client) RunPod(ctx context.Context, p Pod) (*Sandbox, error) {
	config := &runtimeapi.PodSandboxConfig{
		Metadata:    &runtimeapi.PodSandboxMetadata{Name: p.Name, Uid: p.Name, Namespace: "default"},
		Annotations: p.Annotations,
		// Without a configuration CRI copies the node's, which may not exist.
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"127.0.0.1"}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: p.CgroupParent,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE},
			},
		},
	}
	resp, err := c.runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: p.Handler})
	if err != nil {
		return nil, fmt.Errorf("run pod %s with handler %q: %w", p.Name, p.Handler, err)
	}
	return &Sandbox{ID: resp.PodSandboxId, config: config}, nil
}

// RemovePod stops and removes a pod with all its containers.
func (c *Client) RemovePod(ctx context.Context, id string) error {
	if _, err := c.runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("stop pod %s: %w", id, err)
	}
	if _, err := c.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		return fmt.Errorf("remove pod %s: %w", id, err)
	}
	return nil
}

// Create creates a container in a pod and returns its ID.
func (c *Client) Create(ctx context.Context, s *Sandbox, k Container) (string, error) {
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: k.Name},
		Image:    &runtimeapi.ImageSpec{Image: k.Image},
		Command:  k.Command,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: k.Limit},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{
					Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER,
				},
			},
		},
	}
	for inside, outside := range k.Mounts {
		config.Mounts = append(config.Mounts, &runtimeapi.Mount{HostPath: outside, ContainerPath: inside})
	}
	resp, err := c.runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: s.ID, Config: config, SandboxConfig: s.config,
	})
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", k.Name, err)
	}
	return resp.ContainerId, nil
}

// Start starts a container.
func (c *Client) Start(ctx context.Context, id string) error {
	if _, err := c.runtime.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	return nil
}

// Stop asks a container to end, and kills it after the given number of seconds.
func (c *Client) Stop(ctx context.Context, id string, seconds int64) error {
	_, err := c.runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds})
	if err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// Remove removes a container.
func (c *Client) Remove(ctx context.Context, id string) error {
	_, err := c.runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}
