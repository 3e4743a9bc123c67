package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// failedJob returns a Job as the API server has it after a container ran out of memory.
func failedJob(name, message string) *batchv1.Job {
	memory := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Annotations: map[string]string{maxMemory: "192Mi"}},
		Spec: batchv1.JobSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{batchv1.ControllerUidLabel: "x"}},
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action: batchv1.PodFailurePolicyActionFailJob,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{217, 3},
				},
			}}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels:      map[string]string{batchv1.ControllerUidLabel: "x", "app": "train"},
					Annotations: map[string]string{oomExitCode: "217"},
				},
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{
					{Name: "other", Image: "registry.invalid/x"},
					{Name: "main", Image: "registry.invalid/x", Resources: corev1.ResourceRequirements{Limits: memory, Requests: memory}},
				}},
			},
		},
		Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
			{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "PodFailurePolicy", Message: message},
		}},
	}
}

const outOfMemory = "Container main for pod ns/train-x7k2p failed with exit code 217 matching FailJob rule at index 0"

func reconciled(t *testing.T, r *reconciler, name string) {
	t.Helper()
	result, err := r.Reconcile(context.Background(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "ns", Name: name}})
	require.NoError(t, err)
	require.Zero(t, result)
}

func get(t *testing.T, r *reconciler, name string) *batchv1.Job {
	t.Helper()
	job := &batchv1.Job{}
	require.NoError(t, r.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: name}, job))
	return job
}

// TestRetries: the limit is 64 MiB, then 128, then 192, which is the most permitted.
func TestRetries(t *testing.T) {
	r := &reconciler{fake.NewClientBuilder().WithObjects(failedJob("train", outOfMemory)).Build()}
	names := []string{"train", "train-retry-1", "train-retry-2"}
	for i, want := range []string{"128Mi", "192Mi"} {
		reconciled(t, r, names[i])
		reconciled(t, r, names[i]) // the second call finds the next Job there
		next := get(t, r, names[i+1])
		main := next.Spec.Template.Spec.Containers[1]
		require.Equal(t, want, main.Resources.Limits.Memory().String())
		require.Equal(t, want, main.Resources.Requests.Memory().String())
		require.Nil(t, next.Spec.Selector)
		require.Equal(t, map[string]string{"app": "train"}, next.Spec.Template.Labels)
		next.Status = failedJob("", outOfMemory).Status
		require.NoError(t, r.Status().Update(context.Background(), next))
	}
	reconciled(t, r, names[2])
	err := r.Get(context.Background(), types.NamespacedName{Namespace: "ns", Name: "train-retry-3"}, &batchv1.Job{})
	require.True(t, apierrors.IsNotFound(err))
}

// TestOtherFailures: Jobs that failed for another reason are not tried again.
func TestOtherFailures(t *testing.T) {
	unasked := failedJob("unasked", outOfMemory)
	unasked.Annotations = nil
	about := failedJob("about", outOfMemory)
	about.Status.Conditions[0].Type = batchv1.JobFailureTarget
	endless := failedJob("endless", outOfMemory)
	endless.Spec.Template.Spec.Containers[1].Resources = corev1.ResourceRequirements{}
	odd := failedJob("odd", outOfMemory)
	odd.Annotations[maxMemory] = "much"
	application := failedJob("application", "Container main for pod ns/train-x7k2p failed with exit code 3 matching FailJob rule at index 0")
	for _, job := range []*batchv1.Job{unasked, about, endless, odd, application, failedJob("unknown", "by hand")} {
		r := &reconciler{fake.NewClientBuilder().WithObjects(job).Build()}
		reconciled(t, r, job.Name)
		var list batchv1.JobList
		require.NoError(t, r.List(context.Background(), &list))
		require.Len(t, list.Items, 1, job.Name)
	}
	reconciled(t, &reconciler{fake.NewClientBuilder().Build()}, "gone")
}
