package main

import (
	"context"
	"strings"
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

// TestNames: the name of a retry is a label's value too, which has 63 bytes at most, and names
// that begin alike stay apart.
func TestNames(t *testing.T) {
	long := strings.Repeat("a", 54)
	seen := map[string]bool{}
	for name, want := range map[string]string{
		"train": "train-retry-1", "train-retry-9": "train-retry-10", "train-retry-0": "train-retry-0-retry-1",
		"a-retry-99999999999999999999": "a-retry-99999999999999999999-retry-1", long + "-bcdefgh": "", long + "-ijklmno": "", long: long + "-retry-1",
	} {
		next := nextName(name)
		require.LessOrEqual(t, len(next), maxName)
		require.Regexp(t, `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, next)
		require.False(t, seen[next], next)
		seen[next] = true
		if want != "" {
			require.Equal(t, want, next)
		}
	}
	name := long + "-bcdefgh"
	for range 100 { // each retry has the name of the one before
		before := name
		name = nextName(before)
		require.NotEqual(t, before, name)
		require.LessOrEqual(t, len(name), maxName)
	}
	require.True(t, strings.HasSuffix(name, "-retry-100"), name)
}

// TestGrowth: the memory of a container grows to the most permitted, and never beyond it.
func TestGrowth(t *testing.T) {
	for name, c := range map[string]struct{ limit, most, want string }{
		"twice": {"64Mi", "1Gi", "128Mi"}, "up to the most": {"600Mi", "1Gi", "1Gi"}, "exactly twice": {"512Mi", "1Gi", "1Gi"},
		"at the most": {"1Gi", "1Gi", ""}, "above the most": {"2Gi", "1Gi", ""}, "no limit": {"0", "1Gi", ""}, "below nothing": {"64Mi", "-1Gi", ""},
		"nothing": {"64Mi", "0", ""}, "more than a number": {"5Ei", "7Ei", "7Ei"}, "decimal": {"3G", "10G", "6G"}, "parts of bytes": {"1500m", "10", "4"},
	} {
		t.Run(name, func(t *testing.T) {
			job := failedJob("train", outOfMemory)
			job.Spec.Template.Spec.Containers[1].Resources = corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(c.limit)},
			}
			next, err := retry(job, "main", resource.MustParse(c.most))
			if c.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, next.Spec.Template.Spec.Containers[1].Resources.Limits.Memory().String())
			require.Equal(t, c.limit, job.Spec.Template.Spec.Containers[1].Resources.Limits.Memory().String(), "the Job that failed stays as it is")
			require.Empty(t, next.Spec.Template.Spec.Containers[1].Resources.Requests)
		})
	}
}

// TestInitContainer: a rule on exit codes matches init containers too.
func TestInitContainer(t *testing.T) {
	job := failedJob("train", strings.Replace(outOfMemory, "main", "fetch", 1))
	memory := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	job.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "fetch", Resources: corev1.ResourceRequirements{Limits: memory}}}
	r := &reconciler{fake.NewClientBuilder().WithObjects(job).Build()}
	reconciled(t, r, "train")
	pod := get(t, r, "train-retry-1").Spec.Template.Spec
	require.Equal(t, "128Mi", pod.InitContainers[0].Resources.Limits.Memory().String())
	require.Equal(t, "64Mi", pod.Containers[1].Resources.Limits.Memory().String())
}
