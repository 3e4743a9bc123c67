package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/oomwitness/oomwitness/jobfailure"
)

const (
	// maxMemory is the annotation that switches the retries on, and limits them: its value is
	// the most memory that a container gets.
	maxMemory = "example.com/retry-oom-up-to"
	// oomExitCode is the annotation by which the shim shows an OOM as an exit code.
	oomExitCode = "oomwitness.io/oom-exit-code"
)

// reconciler retries Jobs that ran out of memory, with twice the memory.
type reconciler struct{ client.Client }

func (r *reconciler) SetupWithManager(m ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(m).For(&batchv1.Job{}).Complete(r)
}

// Reconcile makes the next Job for a Job that ran out of memory. It leaves alone a Job that
// failed for another reason, or that has all the memory permitted.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	job := &batchv1.Job{}
	if err := r.Get(ctx, request.NamespacedName, job); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	limit, asked := job.Annotations[maxMemory]
	if !asked {
		return ctrl.Result{}, nil
	}
	f, failed := jobfailure.Classify(job, exitCode(job))
	if !failed || !f.Final {
		return ctrl.Result{}, nil
	}
	logger := log.FromContext(ctx).WithValues("class", f.Class, "certain", f.Certain)
	if f.Class != jobfailure.OutOfMemory {
		logger.Info("the Job failed for another reason than memory")
		return ctrl.Result{}, nil
	}
	most, err := resource.ParseQuantity(limit)
	if err != nil {
		logger.Error(err, "annotation "+maxMemory+" is no quantity")
		return ctrl.Result{}, nil
	}
	next, err := retry(job, f.Rule.Container, most)
	if err != nil {
		logger.Info(err.Error())
		return ctrl.Result{}, nil
	}
	err = r.Create(ctx, next)
	if apierrors.IsAlreadyExists(err) { // made by an earlier call
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	logger.Info("the Job is tried again with more memory", "next", next.Name)
	return ctrl.Result{}, nil
}

// exitCode returns the exit code of the Job's pods for an OOM, 0 for none.
func exitCode(job *batchv1.Job) int32 {
	code, err := strconv.ParseInt(job.Spec.Template.Annotations[oomExitCode], 10, 32)
	if err != nil {
		return 0
	}
	return int32(code)
}

// tried matches the end of the name of a Job that is a retry.
var tried = regexp.MustCompile(`^(.*)-retry-([1-9][0-9]{0,8})$`)

// maxName is the length of the longest name of a Job, which is the value of a label of its pods.
const maxName = 63

// nextName returns the name of the retry of a Job. A long name is cut, and gets a checksum.
func nextName(name string) string {
	n := 1
	if m := tried.FindStringSubmatch(name); m != nil {
		before, err := strconv.Atoi(m[2])
		if err == nil {
			name, n = m[1], before+1
		}
	}
	end := fmt.Sprintf("-retry-%d", n)
	if len(name)+len(end) > maxName {
		sum := sha256.Sum256([]byte(name))
		end = fmt.Sprintf("-%x%s", sum[:4], end)
		name = strings.TrimRight(name[:maxName-len(end)], "-.")
	}
	return name + end
}

// retry returns a copy of a Job with a name of its own, in which the container has twice the
// memory, but not more than most. The container may be an init container.
func retry(job *batchv1.Job, container string, most resource.Quantity) (*batchv1.Job, error) {
	next := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: nextName(job.Name), Labels: job.Labels,
			Annotations: map[string]string{maxMemory: job.Annotations[maxMemory]}, OwnerReferences: job.OwnerReferences,
		},
		Spec: *job.Spec.DeepCopy(),
	}
	// These fields were set by the API server and the controller of Jobs.
	next.Spec.Selector, next.Spec.ManualSelector = nil, nil
	for _, label := range []string{"controller-uid", "job-name", batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		delete(next.Spec.Template.Labels, label)
	}
	pod := &next.Spec.Template.Spec
	for _, containers := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range containers {
			if containers[i].Name == container {
				return next, double(&containers[i], most)
			}
		}
	}
	return nil, fmt.Errorf("the Job has no container %q", container)
}

// double doubles a container's memory. A limit of 0 is none.
func double(c *corev1.Container, most resource.Quantity) error {
	limit := c.Resources.Limits[corev1.ResourceMemory]
	if limit.Sign() <= 0 {
		return fmt.Errorf("container %q has no memory limit to raise", c.Name)
	}
	if limit.Cmp(most) >= 0 {
		return fmt.Errorf("container %q has %s of memory, and may have no more than %s", c.Name, limit.String(), most.String())
	}
	more := most
	if limit.Value() < most.Value()-limit.Value() { // twice the limit may be no number
		more = *resource.NewQuantity(2*limit.Value(), limit.Format)
	}
	c.Resources.Limits[corev1.ResourceMemory] = more
	if _, ok := c.Resources.Requests[corev1.ResourceMemory]; ok {
		c.Resources.Requests[corev1.ResourceMemory] = more
	}
	return nil
}
