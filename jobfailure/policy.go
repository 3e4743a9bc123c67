package jobfailure

import (
	"regexp"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// The messages of the controller of Jobs (pkg/controller/job/pod_failure_policy.go of
// Kubernetes) for rules that fail the Job. Names are DNS labels and subdomains, and types of
// pod conditions are qualified names.
var (
	byExitCode  = regexp.MustCompile(`^Container ([a-z0-9-]+) for pod ([a-z0-9-]+)/([a-z0-9.-]+) failed with exit code (0|[1-9][0-9]*) matching FailJob rule at index (0|[1-9][0-9]*)$`)
	byCondition = regexp.MustCompile(`^Pod ([a-z0-9-]+)/([a-z0-9.-]+) has condition ([A-Za-z0-9./_-]+) matching FailJob rule at index (0|[1-9][0-9]*)$`)
)

// maxMessage limits the part of a message that is read. Names of 63 and 253 characters fit
// easily.
const maxMessage = 1024

// parse parses a message of the controller, and returns false for any other message.
func parse(message string) (Rule, bool) {
	if len(message) > maxMessage {
		return Rule{}, false
	}
	if m := byExitCode.FindStringSubmatch(message); m != nil {
		code, cerr := strconv.ParseInt(m[4], 10, 32)
		index, ierr := strconv.Atoi(m[5])
		return Rule{Index: index, Container: m[1], Namespace: m[2], Pod: m[3], ExitCode: int32(code)}, cerr == nil && ierr == nil
	}
	if m := byCondition.FindStringSubmatch(message); m != nil {
		index, err := strconv.Atoi(m[4])
		return Rule{Index: index, Namespace: m[1], Pod: m[2], PodCondition: corev1.PodConditionType(m[3])}, err == nil
	}
	return Rule{}, false
}

// follows reports whether the policy's rule can have matched what the message says.
func (r Rule) follows(policy *batchv1.PodFailurePolicy) bool {
	if policy == nil || r.Index >= len(policy.Rules) {
		return false
	}
	rule := policy.Rules[r.Index]
	switch {
	case rule.Action != batchv1.PodFailurePolicyActionFailJob:
		return false
	case rule.OnExitCodes != nil: // the controller then ignores all else
		named := rule.OnExitCodes.ContainerName
		return r.Container != "" && (named == nil || *named == r.Container) && matches(rule.OnExitCodes, r.ExitCode)
	default:
		return slices.ContainsFunc(rule.OnPodConditions, func(p batchv1.PodFailurePolicyOnPodConditionsPattern) bool {
			return r.PodCondition != "" && p.Type == r.PodCondition
		})
	}
}

// matches reports whether a container that ended with code can match a rule.
func matches(on *batchv1.PodFailurePolicyOnExitCodesRequirement, code int32) bool {
	if code == 0 { // the container has not failed
		return false
	}
	switch on.Operator {
	case batchv1.PodFailurePolicyOnExitCodesOpIn:
		return slices.Contains(on.Values, code)
	case batchv1.PodFailurePolicyOnExitCodesOpNotIn:
		return !slices.Contains(on.Values, code)
	default:
		return false
	}
}

// setsApart reports whether the policy separates an OOM, which shows as code, and a disruption
// from the application's own failures.
func setsApart(policy *batchv1.PodFailurePolicy, code int32) bool {
	if policy == nil || code == 0 || code == sigKilled {
		return false
	}
	return failsByCode(policy.Rules, code) && slices.ContainsFunc(policy.Rules, ofDisruption)
}

// failsByCode reports whether a container that ends with code fails the Job. The first rule
// that matches decides.
func failsByCode(rules []batchv1.PodFailurePolicyRule, code int32) bool {
	for _, rule := range rules {
		if on := rule.OnExitCodes; on != nil && matches(on, code) {
			return rule.Action == batchv1.PodFailurePolicyActionFailJob && on.ContainerName == nil
		}
	}
	return false
}

func ofDisruption(rule batchv1.PodFailurePolicyRule) bool {
	apart := rule.Action == batchv1.PodFailurePolicyActionIgnore || rule.Action == batchv1.PodFailurePolicyActionFailJob
	return apart && rule.OnExitCodes == nil &&
		slices.ContainsFunc(rule.OnPodConditions, func(p batchv1.PodFailurePolicyOnPodConditionsPattern) bool {
			return p.Type == corev1.DisruptionTarget && p.Status == corev1.ConditionTrue
		})
}
