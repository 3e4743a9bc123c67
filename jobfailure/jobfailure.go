// Package jobfailure tells operators why a Job of Kubernetes has failed, or a pod that
// they made themselves.
//
// Classify reads the conditions and the podFailurePolicy of a Job alone: it needs no
// pod, since by then there may be none. ClassifyPod reads the status of a pod.
//
// The Job's controller names in the Failed condition, and in the FailureTarget
// condition that comes before it, which rule of the policy has matched, and for an
// exit code which container ended with it. Under the shim of this project a
// container that the OOM killer has ended shows the exit code that the annotation
// oomwitness.io/oom-exit-code asks for, and no other end shows it by itself. So a
// policy like this tells what exit code 137 can't, which any SIGKILL gives:
//
//	podFailurePolicy:
//	  rules:
//	  - action: FailJob              # out of memory: another try would end the same
//	    onExitCodes: {operator: In, values: [217]}
//	  - action: Ignore               # evicted, drained, preempted: not the Job's fault
//	    onPodConditions: [{type: DisruptionTarget}]
package jobfailure

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Class is why a Job has failed.
type Class string

const (
	// OutOfMemory is a container that the OOM killer has ended.
	OutOfMemory Class = "OutOfMemory"
	// Timeout is the Job's activeDeadlineSeconds.
	Timeout Class = "Timeout"
	// Infrastructure is a pod that was disrupted: evicted, drained, preempted, or
	// lost with its node.
	Infrastructure Class = "Infrastructure"
	// Application is what runs in the pods.
	Application Class = "Application"
	// Unknown is a failure of which the conditions do not say enough, or say what
	// the Job's policy can't have led to.
	Unknown Class = "Unknown"
)

// Reasons of a Job's conditions. k8s.io/api names them from 0.29 on only, and this module
// asks for less.
const (
	reasonDeadlineExceeded         = "DeadlineExceeded"
	reasonBackoffLimitExceeded     = "BackoffLimitExceeded"
	reasonFailedIndexes            = "FailedIndexes"
	reasonMaxFailedIndexesExceeded = "MaxFailedIndexesExceeded"
	reasonPodFailurePolicy         = "PodFailurePolicy"
)

// sigKilled is the exit code of a container that SIGKILL has ended, whoever sent
// it.
const sigKilled = 128 + 9

// Failure is why a Job has failed, or is about to.
type Failure struct {
	Class Class
	// Certain says that nothing else can have been the reason, as far as rules and
	// exit codes are what they are made for. An OutOfMemory that is not certain is a
	// 137; an Application that is not is a Job whose policy does not set the other
	// classes apart, so that a failure of theirs was counted like any other.
	Certain bool
	// Final says that the Job has failed. Else it is about to, and its pods are
	// being ended.
	Final bool
	// Rule is the one of podFailurePolicy that has matched, nil where none has.
	Rule *Rule
	// Reason and Message are the condition's own.
	Reason, Message string
}

// Rule is a rule of a Job's podFailurePolicy and what it has matched.
type Rule struct {
	// Index in spec.podFailurePolicy.rules.
	Index int
	// Namespace and Pod whose failure it was.
	Namespace, Pod string
	// Container that has ended with ExitCode, "" for a rule on pod conditions.
	Container string
	ExitCode  int32
	// PodCondition that the pod had, "" for a rule on exit codes.
	PodCondition corev1.PodConditionType
}

// Classify says why a Job has failed, and false of a Job that has not.
//
// oomExitCode is the exit code that containers show if the OOM killer has ended
// them and only then, such as 217; 0 if there is none. 137 can't be that, since any
// SIGKILL gives it.
//
// The conditions are believed as far as the Job's spec bears them out.
func Classify(job *batchv1.Job, oomExitCode int32) (Failure, bool) {
	c, final := failed(job)
	if c == nil {
		return Failure{}, false
	}
	f := Failure{Class: Unknown, Final: final, Reason: c.Reason, Message: c.Message}
	switch c.Reason {
	case reasonDeadlineExceeded:
		f.Class, f.Certain = Timeout, true
	case reasonBackoffLimitExceeded, reasonFailedIndexes, reasonMaxFailedIndexesExceeded:
		f.Class, f.Certain = Application, setsApart(job.Spec.PodFailurePolicy, oomExitCode)
	case reasonPodFailurePolicy:
		f.byRule(job.Spec.PodFailurePolicy, oomExitCode)
	}
	return f, true
}

// failed finds the condition that says that a Job has failed, or is about to.
func failed(job *batchv1.Job) (c *batchv1.JobCondition, final bool) {
	if job == nil {
		return nil, false
	}
	for i := range job.Status.Conditions {
		switch found := &job.Status.Conditions[i]; {
		case found.Status != corev1.ConditionTrue:
		case found.Type == batchv1.JobFailed:
			return found, true
		case found.Type == batchv1.JobFailureTarget:
			c = found
		}
	}
	return c, false
}

// byRule classifies by the rule that has matched.
func (f *Failure) byRule(policy *batchv1.PodFailurePolicy, oomExitCode int32) {
	r, ok := parse(f.Message)
	if !ok || !r.follows(policy) {
		return
	}
	f.Rule = &r
	switch {
	case r.PodCondition == corev1.DisruptionTarget:
		f.Class, f.Certain = Infrastructure, true
	case r.PodCondition != "": // whoever sets it knows what it means
	case r.ExitCode == sigKilled:
		f.Class = OutOfMemory
	case r.ExitCode == oomExitCode:
		// A rule on all but some codes is made for no cause in particular.
		f.Class, f.Certain = OutOfMemory, policy.Rules[r.Index].OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn
	default:
		f.Class, f.Certain = Application, true
	}
}
