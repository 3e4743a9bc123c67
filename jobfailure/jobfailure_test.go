package jobfailure_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/jobfailure"
)

const oomCode = 217

// The messages are as the controller of Kubernetes 1.36 writes them.
func exited(container string, code, index int) string {
	return fmt.Sprintf("Container %s for pod ns/job-x7k2p failed with exit code %d matching FailJob rule at index %d", container, code, index)
}

func hasCondition(condition string, index int) string {
	return fmt.Sprintf("Pod ns/job-x7k2p has condition %s matching FailJob rule at index %d", condition, index)
}

type change = func(*batchv1.PodFailurePolicyRule)

func onCodes(op batchv1.PodFailurePolicyOnExitCodesOperator, codes ...int32) change {
	return func(r *batchv1.PodFailurePolicyRule) {
		r.OnExitCodes = &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: op, Values: codes}
	}
}

func in(codes ...int32) change { return onCodes(batchv1.PodFailurePolicyOnExitCodesOpIn, codes...) }

func notIn(codes ...int32) change {
	return onCodes(batchv1.PodFailurePolicyOnExitCodesOpNotIn, codes...)
}

func of(container string) change {
	return func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes.ContainerName = &container }
}

func on(condition corev1.PodConditionType) change {
	return func(r *batchv1.PodFailurePolicyRule) {
		r.OnPodConditions = append(r.OnPodConditions, batchv1.PodFailurePolicyOnPodConditionsPattern{
			Type: condition, Status: corev1.ConditionTrue,
		})
	}
}

func rule(action batchv1.PodFailurePolicyAction, changes ...change) batchv1.PodFailurePolicyRule {
	r := batchv1.PodFailurePolicyRule{Action: action}
	for _, c := range changes {
		c(&r)
	}
	return r
}

const (
	failJob   = batchv1.PodFailurePolicyActionFailJob
	failIndex = batchv1.PodFailurePolicyActionFailIndex
	ignore    = batchv1.PodFailurePolicyActionIgnore
	count     = batchv1.PodFailurePolicyActionCount
)

func job(reason, message string, rules ...batchv1.PodFailurePolicyRule) *batchv1.Job {
	j := &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason, Message: message},
	}}}
	if len(rules) > 0 {
		j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules}
	}
	return j
}

// manifest has the rules of the package's documentation.
func manifest() []batchv1.PodFailurePolicyRule {
	return []batchv1.PodFailurePolicyRule{rule(failJob, in(oomCode)), rule(ignore, on(corev1.DisruptionTarget))}
}

func TestByRule(t *testing.T) {
	const policy = "PodFailurePolicy"
	type failure = jobfailure.Failure
	matched := func(index int, container string, code int32, condition corev1.PodConditionType) *jobfailure.Rule {
		return &jobfailure.Rule{
			Index: index, Namespace: "ns", Pod: "job-x7k2p", Container: container, ExitCode: code, PodCondition: condition,
		}
	}
	for name, tc := range map[string]struct {
		message string
		rules   []batchv1.PodFailurePolicyRule
		want    failure
	}{
		"OOM": {exited("main", oomCode, 0), manifest(),
			failure{Class: jobfailure.OutOfMemory, Certain: true, Rule: matched(0, "main", oomCode, "")}},
		"OOM among other codes": {exited("main", oomCode, 1), []batchv1.PodFailurePolicyRule{rule(ignore, in(1)), rule(failJob, in(3, oomCode))},
			failure{Class: jobfailure.OutOfMemory, Certain: true, Rule: matched(1, "main", oomCode, "")}},
		"OOM of one container": {exited("a-1", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, in(oomCode), of("a-1"))},
			failure{Class: jobfailure.OutOfMemory, Certain: true, Rule: matched(0, "a-1", oomCode, "")}},
		"OOM by all codes but some": {exited("main", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, notIn(1))},
			failure{Class: jobfailure.OutOfMemory, Rule: matched(0, "main", oomCode, "")}},
		"137": {exited("main", 137, 0), []batchv1.PodFailurePolicyRule{rule(failJob, in(137))},
			failure{Class: jobfailure.OutOfMemory, Rule: matched(0, "main", 137, "")}},
		"another code": {exited("main", 3, 0), []batchv1.PodFailurePolicyRule{rule(failJob, in(3))},
			failure{Class: jobfailure.Application, Certain: true, Rule: matched(0, "main", 3, "")}},
		"disrupted": {hasCondition("DisruptionTarget", 1), []batchv1.PodFailurePolicyRule{rule(failJob, in(3)), rule(failJob, on("X"), on(corev1.DisruptionTarget))},
			failure{Class: jobfailure.Infrastructure, Certain: true, Rule: matched(1, "", 0, "DisruptionTarget")}},
		"a condition of somebody's": {hasCondition("example.com/Broken_Disk", 0), []batchv1.PodFailurePolicyRule{rule(failJob, on("example.com/Broken_Disk"))},
			failure{Class: jobfailure.Unknown, Rule: matched(0, "", 0, "example.com/Broken_Disk")}},

		// Conditions that the spec cannot have led to.
		"no policy":              {exited("main", oomCode, 0), nil, failure{Class: jobfailure.Unknown}},
		"no such rule":           {exited("main", oomCode, 2), manifest(), failure{Class: jobfailure.Unknown}},
		"a number too large":     {exited("main", oomCode, 1) + strings.Repeat("0", 40), manifest(), failure{Class: jobfailure.Unknown}},
		"a number like no other": {exited("main", oomCode, 0) + "0", manifest(), failure{Class: jobfailure.Unknown}},
		"too long":               {exited(strings.Repeat("m", 2000), oomCode, 0), manifest(), failure{Class: jobfailure.Unknown}},
		"the rule ignores":       {hasCondition("DisruptionTarget", 1), manifest(), failure{Class: jobfailure.Unknown}},
		"another code's rule":    {exited("main", 3, 0), manifest(), failure{Class: jobfailure.Unknown}},
		"excluded by the rule":   {exited("main", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, notIn(oomCode))}, failure{Class: jobfailure.Unknown}},
		"another container's":    {exited("main", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, in(oomCode), of("other"))}, failure{Class: jobfailure.Unknown}},
		"an unknown operator":    {exited("main", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, onCodes("About", oomCode))}, failure{Class: jobfailure.Unknown}},
		"a success":              {exited("main", 0, 0), []batchv1.PodFailurePolicyRule{rule(failJob, notIn(1))}, failure{Class: jobfailure.Unknown}},
		"codes, not conditions":  {hasCondition("DisruptionTarget", 0), manifest(), failure{Class: jobfailure.Unknown}},
		"conditions, not codes":  {exited("main", oomCode, 0), []batchv1.PodFailurePolicyRule{rule(failJob, on(corev1.DisruptionTarget))}, failure{Class: jobfailure.Unknown}},
		"another condition":      {hasCondition("Ready", 0), []batchv1.PodFailurePolicyRule{rule(failJob, on(corev1.DisruptionTarget))}, failure{Class: jobfailure.Unknown}},
		"an empty rule":          {hasCondition("Ready", 0), []batchv1.PodFailurePolicyRule{rule(failJob)}, failure{Class: jobfailure.Unknown}},
		"by hand":                {"out of memory, I think", manifest(), failure{Class: jobfailure.Unknown}},
		"more than the message":  {exited("main", oomCode, 0) + ", or so", manifest(), failure{Class: jobfailure.Unknown}},
		"less than the message":  {exited("main", oomCode, 0)[1:], manifest(), failure{Class: jobfailure.Unknown}},
		"a line before":          {"x\n" + exited("main", oomCode, 0), manifest(), failure{Class: jobfailure.Unknown}},
		"another action's words": {strings.Replace(exited("main", oomCode, 0), "FailJob", "FailIndex", 1), manifest(), failure{Class: jobfailure.Unknown}},
		"none":                   {"", manifest(), failure{Class: jobfailure.Unknown}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := jobfailure.Classify(job(policy, tc.message, tc.rules...), oomCode)
			require.True(t, ok)
			tc.want.Final, tc.want.Reason, tc.want.Message = true, policy, tc.message
			require.Equal(t, tc.want, got)
		})
	}
}

// TestTheExitCodeOfAnOOM: with 137 as the exit code for OOMs no 137 is certain, and without an exit
// code for OOMs no OOM is known.
func TestTheExitCodeOfAnOOM(t *testing.T) {
	rules := []batchv1.PodFailurePolicyRule{rule(failJob, in(137, oomCode))}
	for code, want := range map[int32]struct{ of137, of217 jobfailure.Class }{
		0:       {jobfailure.OutOfMemory, jobfailure.Application},
		137:     {jobfailure.OutOfMemory, jobfailure.Application},
		oomCode: {jobfailure.OutOfMemory, jobfailure.OutOfMemory},
	} {
		got, _ := jobfailure.Classify(job("PodFailurePolicy", exited("main", 137, 0), rules...), code)
		require.Equal(t, want.of137, got.Class)
		require.False(t, got.Certain)
		got, _ = jobfailure.Classify(job("PodFailurePolicy", exited("main", oomCode, 0), rules...), code)
		require.Equal(t, want.of217, got.Class)
		require.True(t, got.Certain)
	}
}

func TestByReason(t *testing.T) {
	const backoff = "BackoffLimitExceeded"
	disrupted := rule(ignore, on(corev1.DisruptionTarget))
	type rules = []batchv1.PodFailurePolicyRule
	for name, tc := range map[string]struct {
		reason  string
		rules   rules
		class   jobfailure.Class
		certain bool
	}{
		"deadline":                     {"DeadlineExceeded", nil, jobfailure.Timeout, true},
		"backoff":                      {backoff, nil, jobfailure.Application, false},
		"backoff, set apart":           {backoff, manifest(), jobfailure.Application, true},
		"backoff, disruption fails":    {backoff, rules{rule(failJob, on(corev1.DisruptionTarget)), rule(failJob, in(oomCode))}, jobfailure.Application, true},
		"backoff, disruption counts":   {backoff, rules{rule(failJob, in(oomCode))}, jobfailure.Application, false},
		"backoff, OOM counts":          {backoff, rules{disrupted}, jobfailure.Application, false},
		"backoff, OOM of one only":     {backoff, rules{rule(failJob, in(oomCode), of("a")), disrupted}, jobfailure.Application, false},
		"backoff, OOM counted before":  {backoff, rules{rule(count, notIn(1)), rule(failJob, in(oomCode)), disrupted}, jobfailure.Application, false},
		"backoff, another code before": {backoff, rules{rule(count, in(1)), rule(failJob, in(oomCode)), disrupted}, jobfailure.Application, true},
		"failed indexes":               {"FailedIndexes", manifest(), jobfailure.Application, true},
		"failed indexes, OOM of one":   {"FailedIndexes", rules{rule(failIndex, in(oomCode)), disrupted}, jobfailure.Application, false},
		"too many failed indexes":      {"MaxFailedIndexesExceeded", nil, jobfailure.Application, false},
		"another controller's":         {"QuotaExceeded", manifest(), jobfailure.Unknown, false},
		"none":                         {"", nil, jobfailure.Unknown, false},
	} {
		t.Run(name, func(t *testing.T) {
			// A message that would be believed from a rule counts for nothing here.
			got, ok := jobfailure.Classify(job(tc.reason, exited("main", oomCode, 0), tc.rules...), oomCode)
			require.True(t, ok)
			require.Equal(t, tc.class, got.Class)
			require.Equal(t, tc.certain, got.Certain)
			require.Nil(t, got.Rule)
		})
	}
	got, _ := jobfailure.Classify(job(backoff, "", manifest()...), 0)
	require.False(t, got.Certain, "no exit code is an OOM's own")
}

func TestConditions(t *testing.T) {
	condition := func(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason string) batchv1.JobCondition {
		return batchv1.JobCondition{Type: kind, Status: status, Reason: reason}
	}
	const deadline, backoff = "DeadlineExceeded", "BackoffLimitExceeded"
	for name, tc := range map[string]struct {
		conditions []batchv1.JobCondition
		ok, final  bool
		class      jobfailure.Class
	}{
		"none":      {nil, false, false, ""},
		"complete":  {[]batchv1.JobCondition{condition(batchv1.JobComplete, corev1.ConditionTrue, "")}, false, false, ""},
		"suspended": {[]batchv1.JobCondition{condition(batchv1.JobSuspended, corev1.ConditionTrue, "")}, false, false, ""},
		"not true":  {[]batchv1.JobCondition{condition(batchv1.JobFailed, corev1.ConditionFalse, deadline)}, false, false, ""},
		"about to": {[]batchv1.JobCondition{condition(batchv1.JobFailureTarget, corev1.ConditionTrue, deadline)},
			true, false, jobfailure.Timeout},
		"both, in their order": {[]batchv1.JobCondition{
			condition(batchv1.JobFailureTarget, corev1.ConditionTrue, backoff), condition(batchv1.JobFailed, corev1.ConditionTrue, deadline),
		}, true, true, jobfailure.Timeout},
		"both, the other way": {[]batchv1.JobCondition{
			condition(batchv1.JobFailed, corev1.ConditionTrue, deadline), condition(batchv1.JobFailureTarget, corev1.ConditionTrue, backoff),
		}, true, true, jobfailure.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := jobfailure.Classify(&batchv1.Job{Status: batchv1.JobStatus{Conditions: tc.conditions}}, oomCode)
			require.Equal(t, tc.ok, ok)
			require.Equal(t, tc.final, got.Final)
			require.Equal(t, tc.class, got.Class)
		})
	}
	_, ok := jobfailure.Classify(nil, oomCode)
	require.False(t, ok)
}

func FuzzClassify(f *testing.F) {
	f.Add(exited("main", oomCode, 0), "PodFailurePolicy", int32(oomCode), uint8(0))
	f.Add(exited("main", 137, 1), "PodFailurePolicy", int32(0), uint8(1))
	f.Add(hasCondition("DisruptionTarget", 1), "PodFailurePolicy", int32(oomCode), uint8(2))
	f.Add("Container a for pod b/c failed with exit code 99999999999 matching FailJob rule at index -1", "PodFailurePolicy", int32(1), uint8(3))
	policies := [][]batchv1.PodFailurePolicyRule{
		manifest(), nil, {rule(failJob, notIn(1)), rule(failJob, on(corev1.DisruptionTarget))}, {rule(failJob), {}},
	}
	f.Fuzz(func(t *testing.T, message, reason string, code int32, which uint8) {
		rules := policies[int(which)%len(policies)]
		got, ok := jobfailure.Classify(job(reason, message, rules...), code)
		require.True(t, ok)
		if got.Rule == nil {
			require.False(t, reason == "PodFailurePolicy" && got.Class != jobfailure.Unknown, "%q", message)
			return
		}
		r := got.Rule
		require.Less(t, r.Index, len(rules))
		require.Equal(t, failJob, rules[r.Index].Action)
		if r.Container != "" {
			require.NotZero(t, r.ExitCode)
			require.Equal(t, message, fmt.Sprintf(
				"Container %s for pod %s/%s failed with exit code %d matching FailJob rule at index %d",
				r.Container, r.Namespace, r.Pod, r.ExitCode, r.Index))
			return
		}
		require.Equal(t, message, fmt.Sprintf("Pod %s/%s has condition %s matching FailJob rule at index %d",
			r.Namespace, r.Pod, r.PodCondition, r.Index))
	})
}
