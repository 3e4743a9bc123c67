package plugin

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/oomwitness/oomwitness/why"
)

// workloadOf returns the name of the workload that a pod belongs to, by its controller.
func workloadOf(pod *corev1.Pod) string {
	owner := metav1.GetControllerOf(pod)
	switch {
	case owner == nil:
		return pod.Name
	case owner.Kind == "ReplicaSet":
		return why.OfReplicaSet(owner.Name)
	case owner.Kind == "Job":
		return why.OfJob(owner.Name)
	default:
		return owner.Name
	}
}

// Row is a workload's container in the output of top.
type Row struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"`
	Container string `json:"container"`
	Pods      int    `json:"pods"`
	why.Count `json:"counts"`
}

// byWorkload adds the counts of the containers of one workload up, the most OOM kills first.
// workloads has those of the pods that are there, by namespace and name.
func byWorkload(counts []why.Count, workloads map[[2]string]string) []Row {
	rows := map[[3]string]*Row{}
	pods := map[[4]string]bool{}
	for _, c := range counts {
		workload, ok := workloads[[2]string{c.Namespace, c.Pod}]
		if !ok {
			workload = why.GuessWorkload(c.Pod)
		}
		key := [3]string{c.Namespace, workload, c.Container}
		r := rows[key]
		if r == nil {
			r = &Row{Namespace: c.Namespace, Workload: workload, Container: c.Container}
			rows[key] = r
		}
		if pod := [4]string{c.Namespace, workload, c.Container, c.Pod}; !pods[pod] {
			pods[pod] = true
			r.Pods++
		}
		r.add(&c)
	}
	list := make([]Row, 0, len(rows))
	for _, r := range rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.OOM, a.OOM), cmp.Compare(b.Kills, a.Kills), cmp.Compare(b.Ended, a.Ended),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Container, b.Container))
	})
	return list
}

// add adds the counts of one more pod.
func (r *Row) add(c *why.Count) {
	r.Ended, r.OOM, r.Kills = r.Ended+c.Ended, r.OOM+c.OOM, r.Kills+c.Kills
	if c.Last != nil && (r.Last == nil || c.Last.After(*r.Last)) {
		r.Last, r.Cause = c.Last, c.Cause
	}
	if c.Peak != nil && (r.Peak == nil || *c.Peak > *r.Peak) {
		r.Peak, r.Limit = c.Peak, c.Limit
	}
}
