//go:build linux

package kube

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NewJob is a Job of one container that is not tried again, under the
// RuntimeClass of the shim, with rules of podFailurePolicy.
func NewJob(name string, container corev1.Container, rules ...batchv1.PodFailurePolicyRule) *batchv1.Job {
	pod := NewPod("", Class, container)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace},
		Spec: batchv1.JobSpec{
			BackoffLimit:     new(int32(0)),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: rules},
			Template:         corev1.PodTemplateSpec{Spec: pod.Spec},
		},
	}
}

// CreateJob makes it.
func (c *Cluster) CreateJob(ctx context.Context, job *batchv1.Job) error {
	if _, err := c.batch.Jobs(Namespace).Create(ctx, job, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create job %s: %w", job.Name, err)
	}
	return nil
}

// Job returns the current state of a Job.
func (c *Cluster) Job(ctx context.Context, name string) (*batchv1.Job, error) {
	job, err := c.batch.Jobs(Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", name, err)
	}
	return job, nil
}

// DeleteJob removes a Job and its pods.
func (c *Cluster) DeleteJob(ctx context.Context, name string) error {
	err := c.batch.Jobs(Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if err != nil {
		return fmt.Errorf("delete job %s: %w", name, err)
	}
	return nil
}

// Evict has a pod evicted, as a drain of the node does.
func (c *Cluster) Evict(ctx context.Context, pod string) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: Namespace}}
	if err := c.core.Pods(Namespace).EvictV1(ctx, eviction); err != nil {
		return fmt.Errorf("evict pod %s: %w", pod, err)
	}
	return nil
}
