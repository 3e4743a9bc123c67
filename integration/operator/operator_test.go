//go:build linux

// Package operator tests the example operator against a real API server with the controller of
// Jobs. There is no kubelet: the tests write the status of pods.
package operator

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/integration/controlplane"
)

// TestRetry: the operator, built with either version of controller-runtime, sees the Job fail
// for memory and makes the next Job. For another exit code it makes none.
func TestRetry(t *testing.T) {
	for _, mod := range []string{"go.mod", "newest.mod"} {
		t.Run(mod, func(t *testing.T) {
			program, err := filepath.Abs("../../.cache/bin/operator-" + mod)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(program); err != nil {
				t.Fatalf("the operator is not built: %v\n\"make operators\" builds it, which takes minutes", err)
			}
			p := controlplane.Start(t)
			p.StartControllers(t, "job-controller")
			p.WaitNamespace(t)
			operator := exec.CommandContext(t.Context(), program, "--kubeconfig", p.Kubeconfig)
			operator.Stderr = t.Output()
			if err := operator.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = operator.Process.Kill()
				_ = operator.Wait()
			})
			fails(t, p, makeJob(t, p, "other"), 3)
			fails(t, p, makeJob(t, p, "train"), 217)
			var next *batchv1.Job
			controlplane.Until(t, "the next Job", func() bool {
				next, err = p.Client.BatchV1().Jobs("default").Get(t.Context(), "train-retry-1", metav1.GetOptions{})
				return err == nil
			})
			if got := next.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String(); got != "128Mi" {
				t.Errorf("the next Job has %s of memory, want 128Mi", got)
			}
			fails(t, p, next, 217)
			controlplane.Until(t, "the Job after", func() bool {
				_, err = p.Client.BatchV1().Jobs("default").Get(t.Context(), "train-retry-2", metav1.GetOptions{})
				return err == nil
			})
			list, err := p.Client.BatchV1().Jobs("default").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) != 4 {
				t.Errorf("%d Jobs, want 4: %v", len(list.Items), err)
			}
		})
	}
}

func makeJob(t *testing.T, p *controlplane.Plane, name string) *batchv1.Job {
	t.Helper()
	memory := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	job, err := p.Client.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"example.com/retry-oom-up-to": "1Gi"}},
		Spec: batchv1.JobSpec{
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{3, 217},
				},
			}}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"oomwitness.io/oom-exit-code": "217"}},
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{
					Name: "main", Image: "registry.invalid/train", Resources: corev1.ResourceRequirements{Limits: memory, Requests: memory},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// fails has the pod of a Job end as kubelet reports it, and waits until the controller has
// changed the Job's status.
func fails(t *testing.T, p *controlplane.Plane, job *batchv1.Job, code int32) {
	t.Helper()
	pods := p.Client.CoreV1().Pods("default")
	var pod *corev1.Pod
	controlplane.Until(t, "the pod of "+job.Name, func() bool {
		list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job.Name})
		if err == nil && len(list.Items) > 0 {
			pod = &list.Items[0]
		}
		return pod != nil
	})
	now := metav1.Now()
	pod.Status = corev1.PodStatus{Phase: corev1.PodFailed, StartTime: &now, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "main", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Error", FinishedAt: now}},
	}}}
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	controlplane.Until(t, "the failure of "+job.Name, func() bool {
		got, err := p.Client.BatchV1().Jobs("default").Get(t.Context(), job.Name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, c := range got.Status.Conditions {
			if c.Type == batchv1.JobFailed {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	})
}
