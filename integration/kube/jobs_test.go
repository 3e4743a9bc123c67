//go:build linux

package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/integration/faultkit"
	"github.com/oomwitness/oomwitness/jobfailure"
)

// The rules of a Job that does not try again what is out of memory.
var (
	failOnOOM = batchv1.PodFailurePolicyRule{
		Action: batchv1.PodFailurePolicyActionFailJob,
		OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{oomExitCode},
		},
	}
	disrupted = []batchv1.PodFailurePolicyOnPodConditionsPattern{
		{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
	}
	ignoreDisruption = batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: disrupted}
	failOnDisruption = batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnPodConditions: disrupted}
)

// jobCase is a Job and how it ends.
type jobCase struct {
	command []string
	change  func(*batchv1.Job)
	// act is done to the first pod once it runs; may be nil.
	act func(s *suite, t *testing.T, pod string)
	// want is what the conditions are to say, the zero value for no failure.
	want jobfailure.Failure
}

// TestJobs has Jobs fail in every way. Their conditions alone must identify the reason.
func TestJobs(t *testing.T) {
	s := setUp(t)
	sleep := []string{"/workload", "sleep", "1000000"}
	for name, c := range map[string]jobCase{
		"oom": {command: []string{"/workload", "hog"}, want: jobfailure.Failure{
			Class: jobfailure.OutOfMemory, Certain: true, Rule: &jobfailure.Rule{Container: "main", ExitCode: oomExitCode},
		}},
		"sigkill": {command: sleep, act: sigkill, want: jobfailure.Failure{Class: jobfailure.Application, Certain: true}},
		"exit1":   {command: []string{"/workload", "exit", "1"}, want: jobfailure.Failure{Class: jobfailure.Application, Certain: true}},
		"deadline": {
			command: sleep,
			change:  func(job *batchv1.Job) { job.Spec.ActiveDeadlineSeconds = new(int64(1)) },
			want:    jobfailure.Failure{Class: jobfailure.Timeout, Certain: true},
		},
		"evicted": {command: sleep, act: evict},
		"evicted-for-good": {
			command: sleep, act: evict,
			change: func(job *batchv1.Job) { job.Spec.PodFailurePolicy.Rules[1] = failOnDisruption },
			want: jobfailure.Failure{
				Class: jobfailure.Infrastructure, Certain: true,
				Rule: &jobfailure.Rule{Index: 1, PodCondition: corev1.DisruptionTarget},
			},
		},
	} {
		t.Run(name, func(t *testing.T) { s.runJob(t, name, c) })
	}
}

func (s *suite) runJob(t *testing.T, name string, c jobCase) {
	t.Helper()
	job := NewJob(name, NewContainer("main", faultkit.Limit, c.command...), failOnOOM, ignoreDisruption)
	job.Spec.Template.Annotations = map[string]string{codeAnnotation: fmt.Sprint(oomExitCode)}
	job.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64(1))
	if c.change != nil {
		c.change(job)
	}
	require.NoError(t, s.CreateJob(t.Context(), job))
	t.Cleanup(func() { require.NoError(t, s.DeleteJob(context.WithoutCancel(t.Context()), name)) })
	if c.act != nil {
		c.act(s, t, s.running(t, name, 1))
	}
	if c.want.Class == "" {
		s.running(t, name, 2) // another has taken its place
		_, failed := jobfailure.Classify(s.job(t, name), oomExitCode)
		require.False(t, failed)
		return
	}
	var got jobfailure.Failure
	require.NoError(t, faultkit.Until(t.Context(), "job "+name+" to fail", func() error {
		now, err := s.Job(t.Context(), name)
		if err != nil {
			return err
		}
		var failed bool
		if got, failed = jobfailure.Classify(now, oomExitCode); !failed || !got.Final {
			return fmt.Errorf("conditions %+v", now.Status.Conditions)
		}
		return nil
	}))
	faultkit.Keep(t, fmt.Sprintf("kube case=job-%s driver=%s class=%s certain=%t reason=%s message=%q",
		name, s.driver, got.Class, got.Certain, got.Reason, got.Message))
	require.Equal(t, c.want.Class, got.Class, "%+v", got)
	require.Equal(t, c.want.Certain, got.Certain, "%+v", got)
	require.Equal(t, c.want.Rule == nil, got.Rule == nil, "%+v", got)
	if c.want.Rule != nil {
		c.want.Rule.Namespace, c.want.Rule.Pod = Namespace, got.Rule.Pod
		require.Equal(t, c.want.Rule, got.Rule)
	}
	require.Len(t, s.podsOf(name), 1, "it failed once")
}

func (s *suite) job(t *testing.T, name string) *batchv1.Job {
	t.Helper()
	job, err := s.Job(t.Context(), name)
	require.NoError(t, err)
	return job
}

// podsOf returns the names of all the pods that a Job ever had.
func (s *suite) podsOf(job string) (names []string) {
	for name, sight := range s.Pods() {
		if sight.Pod.Labels[batchv1.JobNameLabel] == job {
			names = append(names, name)
		}
	}
	return names
}

// running waits until the Job has had so many pods and the newest of them runs,
// and gives its name.
func (s *suite) running(t *testing.T, job string, had int) (newest string) {
	t.Helper()
	_, err := s.Until(t.Context(), startTime(had), "a pod of job "+job, func(pods map[string]*Sight) error {
		all, runs := 0, ""
		for name, sight := range pods {
			if sight.Pod.Labels[batchv1.JobNameLabel] != job {
				continue
			}
			all++
			if !sight.Gone && sight.Pod.DeletionTimestamp == nil && sight.Pod.Status.Phase == corev1.PodRunning {
				runs = name
			}
		}
		if newest = runs; all != had || runs == "" {
			return errors.New("it does not run")
		}
		return nil
	})
	require.NoError(t, err)
	return newest
}

func sigkill(s *suite, t *testing.T, pod string) {
	t.Helper()
	pid, err := faultkit.InitPid(s.Pods()[pod].ID("main"))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
}

func evict(s *suite, t *testing.T, pod string) {
	t.Helper()
	require.NoError(t, s.Evict(t.Context(), pod))
}
