//go:build linux

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// NewPod is a pod that runs once, under a RuntimeClass, or with none under the
// node's default: the stock shim. Its network is the node's, so that none has to
// be set up.
func NewPod(name, class string, containers ...corev1.Container) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace},
		Spec: corev1.PodSpec{
			HostNetwork: true, RestartPolicy: corev1.RestartPolicyNever, Containers: containers,
		},
	}
	if class != "" {
		pod.Spec.RuntimeClassName = &class
	}
	return pod
}

// NewContainer is a container of the workload with a memory limit in bytes.
func NewContainer(name string, limit int64, command ...string) corev1.Container {
	memory := corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(limit, resource.BinarySI)}
	return corev1.Container{
		Name: name, Image: faultkit.Image, Command: command,
		Resources: corev1.ResourceRequirements{Limits: memory, Requests: memory},
	}
}

// MountControl mounts the folder with the pipe that carries the container's mode.
func MountControl(pod *corev1.Pod, container int, dir string) {
	volume := path.Base(dir)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
		Name: volume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}},
	})
	pod.Spec.Containers[container].VolumeMounts = []corev1.VolumeMount{{Name: volume, MountPath: faultkit.ControlMount}}
}

// Create makes a pod.
func (c *Cluster) Create(ctx context.Context, pod *corev1.Pod) error {
	if _, err := c.core.Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
	return nil
}

// Debug adds an ephemeral container of the workload to a pod.
func (c *Cluster) Debug(ctx context.Context, pod, name string, command ...string) error {
	p, err := c.Get(ctx, pod)
	if err != nil {
		return err
	}
	p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: faultkit.Image, Command: command},
	})
	if _, err := c.core.Pods(Namespace).UpdateEphemeralContainers(ctx, pod, p, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("ephemeral container of pod %s: %w", pod, err)
	}
	return nil
}

// Delete has a pod stopped, with so many seconds between SIGTERM and SIGKILL, and
// removed. It comes back at once; one that is gone is no error.
func (c *Cluster) Delete(ctx context.Context, name string, seconds int64) error {
	err := c.core.Pods(Namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &seconds})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", name, err)
	}
	return nil
}

// DeleteAll has all pods stopped and removed, and comes back at once.
func (c *Cluster) DeleteAll(ctx context.Context, seconds int64) error {
	err := c.core.Pods(Namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &seconds}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("delete pods: %w", err)
	}
	return nil
}

// Resize sets the memory limit of a container that runs, in bytes.
func (c *Cluster) Resize(ctx context.Context, pod, container string, limit int64) error {
	memory := corev1.ResourceList{corev1.ResourceMemory: *resource.NewQuantity(limit, resource.BinarySI)}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"containers": []any{map[string]any{
		"name": container, "resources": corev1.ResourceRequirements{Limits: memory, Requests: memory},
	}}}})
	if err != nil {
		return err
	}
	_, err = c.core.Pods(Namespace).Patch(ctx, pod, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "resize")
	if err != nil {
		return fmt.Errorf("resize %s of pod %s: %w", container, pod, err)
	}
	return nil
}

// Messages returns the messages of a pod's Events with the given reason.
func (c *Cluster) Messages(ctx context.Context, pod, reason string) ([]string, error) {
	events, err := c.core.Events(Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
	})
	if err != nil {
		return nil, fmt.Errorf("list events of pod %s: %w", pod, err)
	}
	var messages []string
	for _, e := range events.Items {
		messages = append(messages, e.Message)
	}
	return messages, nil
}

// EventCount sums the counts of the Events of a reason about a pod.
func (c *Cluster) EventCount(ctx context.Context, pod, reason string) (int32, error) {
	events, err := c.core.Events(Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + pod + ",reason=" + reason,
	})
	if err != nil {
		return 0, fmt.Errorf("list events of pod %s: %w", pod, err)
	}
	var sum int32
	for _, e := range events.Items {
		sum += e.Count
	}
	return sum, nil
}

// Get returns a pod as the API shows it now.
func (c *Cluster) Get(ctx context.Context, name string) (*corev1.Pod, error) {
	pod, err := c.core.Pods(Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get pod %s: %w", name, err)
	}
	return pod, nil
}

// AllPods returns all pods as the API shows them now.
func (c *Cluster) AllPods(ctx context.Context) ([]corev1.Pod, error) {
	list, err := c.core.Pods(Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return list.Items, nil
}
