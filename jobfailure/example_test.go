package jobfailure_test

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/oomwitness/oomwitness/jobfailure"
)

func ExampleClassify() {
	failed := &batchv1.Job{ // as the API gives it
		Spec: batchv1.JobSpec{PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
			Action: batchv1.PodFailurePolicyActionFailJob,
			OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
				Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{217},
			},
		}}}},
		Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{
			Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "PodFailurePolicy",
			Message: "Container main for pod default/train-x7k2p failed with exit code 217 matching FailJob rule at index 0",
		}}},
	}
	f, ok := jobfailure.Classify(failed, 217)
	if !ok {
		return // it has not failed
	}
	switch f.Class {
	case jobfailure.OutOfMemory:
		fmt.Printf("%s needs more memory; certain: %v\n", f.Rule.Container, f.Certain)
	case jobfailure.Infrastructure:
		fmt.Println("try again")
	default:
		fmt.Println(f.Class, f.Message)
	}
	// Output: main needs more memory; certain: true
}
