// Package jobfailure classifies why a Job of Kubernetes has failed, or a pod that an operator
// made without a Job.
//
// Classify reads the conditions and the podFailurePolicy of a Job. It needs no pod, since the
// pods may be gone by then. ClassifyPod reads the status of a pod.
//
// The controller of Jobs sets the condition Failed, and before it the condition FailureTarget.
// Their message names the rule of the policy that has matched, and for an exit code also the
// container. Under the shim of this project a container that the OOM killer has ended shows the
// exit code that the annotation oomwitness.io/oom-exit-code sets. No other end shows that code
// by itself. Exit code 137 cannot identify an OOM, since any SIGKILL leads to 137; a policy
// like this can:
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

// Class is the kind of reason for which a Job has failed.
type Class string

const (
	// OutOfMemory means that the OOM killer has ended a container.
	OutOfMemory Class = "OutOfMemory"
	// Timeout means that the Job's activeDeadlineSeconds have passed.
	Timeout Class = "Timeout"
	// Infrastructure means that a pod was disrupted: evicted, drained, preempted, or lost with
	// its node.
	Infrastructure Class = "Infrastructure"
	// Application means that the program in the pods has failed.
	Application Class = "Application"
	// Unknown means that the conditions do not say enough, or that they contradict the Job's
	// policy.
	Unknown Class = "Unknown"
)

// Reasons of a Job's conditions. k8s.io/api has these constants from 0.29 on, and this module
// requires an older version.
const (
	reasonDeadlineExceeded         = "DeadlineExceeded"
	reasonBackoffLimitExceeded     = "BackoffLimitExceeded"
	reasonFailedIndexes            = "FailedIndexes"
	reasonMaxFailedIndexesExceeded = "MaxFailedIndexesExceeded"
	reasonPodFailurePolicy         = "PodFailurePolicy"
)

// sigKilled is the exit code of a container that SIGKILL has ended, whoever sent the signal.
const sigKilled = 128 + 9

// Failure is the reason why a Job has failed, or is about to fail.
type Failure struct {
	Class Class
	// Certain says that no other reason is possible, provided that rules and exit codes are
	// used for their purpose. An OutOfMemory that is not certain is an exit code 137. An
	// Application that is not certain is a Job whose policy does not separate the other
	// classes: their failures were counted like any other.
	Certain bool
	// Final says that the Job has failed. Otherwise the Job is about to fail, and its pods are
	// being ended.
	Final bool
	// Rule is the rule of podFailurePolicy that has matched, nil if none has.
	Rule *Rule
	// Reason and Message are those of the condition.
	Reason, Message string
}

// Rule is a rule of a Job's podFailurePolicy, and what the rule has matched.
type Rule struct {
	// Index is the rule's index in spec.podFailurePolicy.rules.
	Index int
	// Namespace and Pod name the pod that failed.
	Namespace, Pod string
	// Container is the container that has ended with ExitCode, "" for a rule on pod conditions.
	Container string
	ExitCode  int32
	// PodCondition is the condition of the pod, "" for a rule on exit codes.
	PodCondition corev1.PodConditionType
}

// Classify returns why a Job has failed. It returns false for a Job that has not failed.
//
// oomExitCode is the exit code that a container shows if, and only if, the OOM killer has ended
// it, such as 217; 0 if there is no such code. 137 cannot be that code, since any SIGKILL leads
// to 137.
//
// Classify believes a condition only if the Job's spec can have led to it.
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

// failed returns the condition that says that a Job has failed, or is about to fail.
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

// byRule returns the class by the rule that has matched.
func (f *Failure) byRule(policy *batchv1.PodFailurePolicy, oomExitCode int32) {
	r, ok := parse(f.Message)
	if !ok || !r.follows(policy) {
		return
	}
	f.Rule = &r
	switch {
	case r.PodCondition == corev1.DisruptionTarget:
		f.Class, f.Certain = Infrastructure, true
	case r.PodCondition != "": // who sets the condition decides what it means
	case r.ExitCode == sigKilled:
		f.Class = OutOfMemory
	case r.ExitCode == oomExitCode:
		// A rule on all codes except some is for no particular cause.
		f.Class, f.Certain = OutOfMemory, policy.Rules[r.Index].OnExitCodes.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn
	default:
		f.Class, f.Certain = Application, true
	}
}
