package deliver

import "time"

// Stage is how far something came: the label stage of the counters.
type Stage string

// Stages of an OOM event, for events_total.
const (
	// Observed: the ledger's record was read. Counted once per event.
	Observed Stage = "observed"
	// Resolved: container and pod, or the unit outside pods, are known.
	Resolved Stage = "resolved"
	// Skipped: nothing more will be done, for the reason given.
	Skipped Stage = "skipped"
	// Error: one attempt failed. It is made again unless Skipped follows.
	Error Stage = "error"
	// Reported: an Event in Kubernetes has it.
	Reported Stage = "reported"
)

// Stages of a pod that is to be marked, for marked_victims_total; Skipped and
// Error are shared.
const (
	// Marked: the pod carries the annotation or label.
	Marked Stage = "marked"
	// Evicted: the Eviction API has taken the pod.
	Evicted Stage = "evicted"
)

// Reason says why: the label reason of the counters. It is one of those below,
// so that the label's values are bounded.
type Reason string

// Reasons.
const (
	// None goes with the stages that need no reason.
	None Reason = ""
	// CauseExcluded: the cause is none of those to be marked.
	CauseExcluded Reason = "cause_excluded"
	// DryRun: it was only said.
	DryRun Reason = "dry_run"
	// PodUnknown: a pod's cgroup that was not resolved.
	PodUnknown Reason = "pod_unknown"
	// PodGone: the API server has no such pod any more.
	PodGone Reason = "pod_gone"
	// PodRecreated: a pod of the same name has another UID.
	PodRecreated Reason = "pod_recreated"
	// PodFinished: the pod is being deleted or has ended, so that evicting it
	// helps nobody.
	PodFinished Reason = "pod_finished"
	// StaticPod: the API server does not own it; evicting the mirror does nothing.
	StaticPod Reason = "static_pod"
	// DaemonSetPod: its controller would put it on the same node again.
	DaemonSetPod Reason = "daemonset_pod"
	// UnmanagedPod: nothing would make it again.
	UnmanagedPod Reason = "unmanaged_pod"
	// CriticalPod: its priority class is system-node-critical or
	// system-cluster-critical.
	CriticalPod Reason = "critical_pod"
	// NamespaceGone: the namespace is gone or being deleted.
	NamespaceGone Reason = "namespace_gone"
	// Forbidden: the agent's role does not allow it.
	Forbidden Reason = "forbidden"
	// Refused: the API server calls the request wrong, or an admission refused it.
	Refused Reason = "refused"
	// Conflict: somebody else changed the object at the same moment.
	Conflict Reason = "conflict"
	// Throttled: the API server asked for fewer requests.
	Throttled Reason = "throttled"
	// Budget: a disruption budget does not allow the eviction now.
	Budget Reason = "budget"
	// Unavailable: no answer, or one that the API server is in trouble.
	Unavailable Reason = "unavailable"
	// QueueFull: too much is waiting for the API server.
	QueueFull Reason = "queue_full"
	// TooLate: the kill is too long ago for it to help.
	TooLate Reason = "too_late"
)

// Counter counts outcomes. Its methods are called concurrently and must not block.
type Counter interface {
	// Event counts what became of one OOM event, as far as one pod or the node is
	// concerned.
	Event(Stage, Reason)
	// Mark counts what became of marking or evicting a pod for one OOM event.
	Mark(Stage, Reason)
	// ReportDelay is the time from a kill to the Event in Kubernetes that has it.
	ReportDelay(time.Duration)
}

// Discard counts nothing.
type Discard struct{}

// Event does nothing.
func (Discard) Event(Stage, Reason) {}

// Mark does nothing.
func (Discard) Mark(Stage, Reason) {}

// ReportDelay does nothing.
func (Discard) ReportDelay(time.Duration) {}

var _ Counter = Discard{}
