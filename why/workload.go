package why

import "regexp"

// random are the characters that Kubernetes makes names of (k8s.io/apimachinery/pkg/util/rand).
const random = "[bcdfghjklmnpqrstvwxz2456789]"

// The ends of names that controllers give: a ReplicaSet's, a pod's of a controller, a pod's
// of a StatefulSet, a Job's of a CronJob.
var (
	replicaSetEnd  = regexp.MustCompile("-" + random + "{6,10}$")
	podEnd         = regexp.MustCompile("-" + random + "{5}$")
	statefulSetEnd = regexp.MustCompile(`-[0-9]{1,5}$`)
	cronJobEnd     = regexp.MustCompile(`-[0-9]{8}$`)
)

// OfReplicaSet returns the name of the Deployment of a ReplicaSet, by its name.
func OfReplicaSet(name string) string { return replicaSetEnd.ReplaceAllString(name, "") }

// OfJob returns the name of the CronJob of a Job, by its name.
func OfJob(name string) string { return cronJobEnd.ReplaceAllString(name, "") }

// GuessWorkload returns the name of the workload of a pod that nobody can be asked for, by
// the ends that controllers give to names.
func GuessWorkload(pod string) string {
	if bare := podEnd.ReplaceAllString(pod, ""); bare != pod {
		return OfJob(OfReplicaSet(bare))
	}
	return statefulSetEnd.ReplaceAllString(pod, "")
}
