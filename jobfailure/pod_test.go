package jobfailure_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/jobfailure"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// end returns a container that ended that number of seconds after noon.
func end(name string, code int32, reason string, after int) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(noon.Add(time.Duration(after) * time.Second)),
	}}}
}

// lost returns a container that kubelet has lost: without the time at which it finished.
func lost(name string) corev1.ContainerStatus {
	return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown"},
	}}
}

func failedPod(containers ...corev1.ContainerStatus) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: containers}}
}

// disrupted adds the condition that a disruption sets.
func disrupted(pod *corev1.Pod, after int) *corev1.Pod {
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
		LastTransitionTime: metav1.NewTime(noon.Add(time.Duration(after) * time.Second)),
	})
	return pod
}

func reasoned(reason string, containers ...corev1.ContainerStatus) *corev1.Pod {
	pod := failedPod(containers...)
	pod.Status.Reason = reason
	return pod
}

func withSidecar() *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	pod := failedPod(end("main", 3, "Error", 5))
	pod.Spec.InitContainers = []corev1.Container{{Name: "proxy", RestartPolicy: &always}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{end("proxy", oomCode, "OOMKilled", 1)}
	return pod
}

func withInit() *corev1.Pod {
	pod := failedPod()
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{end("fetch", oomCode, "OOMKilled", 1)}
	return pod
}

func withInitOOM(code int32) *corev1.Pod {
	pod := failedPod()
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{end("fetch", code, "OOMKilled", 1)}
	return pod
}

// argo returns a pod as Argo Workflows makes it: main beside wait, which ends after main, and
// an init container.
func argo(main corev1.ContainerStatus) *corev1.Pod {
	pod := failedPod(end("wait", 0, "Completed", 9), main)
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{end("init", 0, "Completed", 0)}
	return pod
}

// lostNode returns a pod whose node is gone: the collector of pods failed it, and nobody knows
// how the containers ended.
func lostNode() *corev1.Pod {
	pod := disrupted(failedPod(corev1.ContainerStatus{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}), 60)
	pod.Status.Conditions[0].Reason = "DeletionByPodGC"
	return pod
}

func TestClassifyPod(t *testing.T) {
	for name, tc := range map[string]struct {
		pod     *corev1.Pod
		code    int32
		class   jobfailure.Class
		certain bool
		of      string
	}{
		"OOM by its exit code":                  {failedPod(end("main", oomCode, "OOMKilled", 1)), oomCode, jobfailure.OutOfMemory, true, "main"},
		"OOM by its exit code, reason lost":     {failedPod(end("main", oomCode, "Error", 1)), oomCode, jobfailure.OutOfMemory, true, "main"},
		"OOM by the reason":                     {failedPod(end("main", 137, "OOMKilled", 1)), 0, jobfailure.OutOfMemory, false, "main"},
		"OOM by the reason beside another code": {failedPod(end("main", 1, "OOMKilled", 1)), oomCode, jobfailure.OutOfMemory, false, "main"},
		"137 as the code of an OOM":             {failedPod(end("main", 137, "OOMKilled", 1)), 137, jobfailure.OutOfMemory, false, "main"},
		"SIGKILL":                               {failedPod(end("main", 137, "Error", 1)), oomCode, jobfailure.Unknown, false, "main"},
		"exit code":                             {failedPod(end("main", 3, "Error", 1)), oomCode, jobfailure.Application, true, "main"},
		"exit code, no code of an OOM":          {failedPod(end("main", 3, "Error", 1)), 0, jobfailure.Application, false, "main"},
		"exit code, 137 as the code of an OOM":  {failedPod(end("main", 3, "Error", 1)), 137, jobfailure.Application, false, "main"},
		"container lost":                        {failedPod(end("main", 137, "ContainerStatusUnknown", 1)), oomCode, jobfailure.Infrastructure, false, "main"},
		"OOM, then a lost container":            {failedPod(lost("a"), end("b", oomCode, "OOMKilled", 1)), oomCode, jobfailure.OutOfMemory, true, "b"},
		"OOM, a lost container behind it":       {failedPod(end("a", oomCode, "OOMKilled", 1), lost("b")), oomCode, jobfailure.OutOfMemory, true, "a"},
		"disrupted and lost":                    {disrupted(failedPod(lost("a")), 1), oomCode, jobfailure.Infrastructure, true, ""},
		"the first of two":                      {failedPod(end("b", 143, "Error", 9), end("a", oomCode, "OOMKilled", 1)), oomCode, jobfailure.OutOfMemory, true, "a"},
		"the first of two, other order":         {failedPod(end("a", 3, "Error", 1), end("b", oomCode, "OOMKilled", 9)), oomCode, jobfailure.Application, true, "a"},
		"two in one second":                     {failedPod(end("a", 143, "Error", 1), end("b", oomCode, "OOMKilled", 1)), oomCode, jobfailure.OutOfMemory, true, "b"},
		"beside one that succeeded":             {failedPod(end("a", 0, "OOMKilled", 0), end("b", 3, "Error", 1)), oomCode, jobfailure.Application, true, "b"},
		"none failed":                           {failedPod(end("a", 0, "Completed", 0)), oomCode, jobfailure.Unknown, false, ""},
		"no container":                          {failedPod(), oomCode, jobfailure.Unknown, false, ""},
		"an init container":                     {withInit(), oomCode, jobfailure.OutOfMemory, true, "fetch"},
		"an init container at exit code 0":      {withInitOOM(0), oomCode, jobfailure.OutOfMemory, false, "fetch"},
		"Argo's main":                           {argo(end("main", oomCode, "OOMKilled", 5)), oomCode, jobfailure.OutOfMemory, true, "main"},
		"Argo's main, its own failure":          {argo(end("main", 64, "Error", 5)), oomCode, jobfailure.Application, true, "main"},
		"Airflow's base beside its sidecar":     {failedPod(end("airflow-xcom-sidecar", 143, "Error", 35), end("base", oomCode, "OOMKilled", 5)), oomCode, jobfailure.OutOfMemory, true, "base"},
		"a lost node":                           {lostNode(), oomCode, jobfailure.Infrastructure, true, ""},
		"a sidecar's OOM":                       {withSidecar(), oomCode, jobfailure.Application, true, "main"},
		"disrupted, then stopped":               {disrupted(failedPod(end("main", 143, "Error", 5)), 1), oomCode, jobfailure.Infrastructure, true, ""},
		"disrupted, then killed":                {disrupted(failedPod(end("main", 137, "Error", 31)), 1), oomCode, jobfailure.Infrastructure, true, ""},
		"disrupted after an OOM":                {disrupted(failedPod(end("main", oomCode, "OOMKilled", 1)), 5), oomCode, jobfailure.OutOfMemory, true, "main"},
		"disrupted before it started":           {disrupted(failedPod(), 1), oomCode, jobfailure.Infrastructure, true, ""},
		"deadline":                              {reasoned("DeadlineExceeded", end("main", 143, "Error", 1)), oomCode, jobfailure.Timeout, true, ""},
		"evicted for its own limit":             {reasoned("Evicted", end("main", 137, "Error", 1)), oomCode, jobfailure.Application, false, ""},
		"refused by kubelet":                    {reasoned("OutOfmemory"), oomCode, jobfailure.Infrastructure, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := jobfailure.ClassifyPod(tc.pod, tc.code)
			require.True(t, ok)
			require.Equal(t, tc.class, got.Class)
			require.Equal(t, tc.certain, got.Certain)
			require.Equal(t, tc.of, got.Container)
		})
	}
}

// TestPodThatHasNotFailed: the states of the containers do not matter.
func TestPodThatHasNotFailed(t *testing.T) {
	for _, phase := range []corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodUnknown} {
		pod := failedPod(end("main", oomCode, "OOMKilled", 1))
		pod.Status.Phase = phase
		_, ok := jobfailure.ClassifyPod(pod, oomCode)
		require.False(t, ok, phase)
	}
	_, ok := jobfailure.ClassifyPod(nil, oomCode)
	require.False(t, ok)
}
