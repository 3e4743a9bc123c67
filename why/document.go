// Package why is the answer to "why did the container die?": one document, by which the
// agent's API, "oomwitness why" and the kubectl plugin speak to each other, and the page
// of text that people read. The package imports nothing of this project: the plugin also
// runs on machines without Linux.
package why

import "time"

// Schema is the version of Document's JSON form: fields are added, never changed. A
// reader refuses another version.
const Schema = 1

// MaxRuns bounds the runs of one Document.
const MaxRuns = 50

// Sources of a Document.
const (
	// SourceAgent is the agent on the node of the pod.
	SourceAgent = "agent"
	// SourceNode are the node's own files: the spool of exits, bundles, the ledger.
	SourceNode = "node"
	// SourceKubernetes is the status of the pod and its Events alone.
	SourceKubernetes = "kubernetes"
)

// Document is what is known of the ends of container runs.
type Document struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	// Node is the name of the node, or of the nodes that have answered, with commas. Source is
	// where the answer comes from.
	Node   string `json:"node,omitempty"`
	Source string `json:"source"`
	// Notes are sentences on the whole document, such as why no agent was asked.
	Notes []string `json:"notes,omitempty"`
	// Runs are those that were asked for, newest first, at most MaxRuns: see Bound. Omitted
	// counts the others.
	Runs    []Run `json:"runs"`
	Omitted int   `json:"omitted,omitempty"`
}

// Run is one run of a container. A pointer is null, and a text empty, where it is not
// known: then Missing has the field's name with the reason.
type Run struct {
	// Node is the name of the run's node, in the merged answer of several nodes alone.
	Node      string    `json:"node,omitempty"`
	Pod       *Pod      `json:"pod,omitempty"`
	Container Container `json:"container"`
	Running   bool      `json:"running,omitempty"`
	PID       int       `json:"pid,omitempty"`
	// EndedAt is when init was reaped. Status is the true exit status, Reported what
	// containerd was given in its place.
	EndedAt  *time.Time `json:"ended_at"`
	Status   *int       `json:"exit_status"`
	Reported *int       `json:"reported_status,omitempty"`
	// Verdict is what ended the run.
	Verdict *Verdict `json:"verdict"`
	// Signals are those that containerd had asked for, such as SIGTERM, in their order.
	Signals []string `json:"requested_signals,omitempty"`
	// Sender sent the SIGKILL that ended init, where nobody asked containerd for it.
	Sender *Process `json:"sender,omitempty"`
	// OOM is the newest OOM event with a victim in the container.
	OOM *OOMEvent `json:"oom_event,omitempty"`
	// Memory is the container's at its end.
	Memory Memory `json:"memory"`
	// Restarts is the number by Kubernetes, Recent what came before in the last day.
	Restarts *int    `json:"restarts,omitempty"`
	Recent   *Recent `json:"last_day,omitempty"`
	// Advice is what to do, a sentence each.
	Advice  []string  `json:"advice,omitempty"`
	Missing []Missing `json:"missing,omitempty"`
}

// Pod is the run's pod.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
}

// Container is the run's container.
type Container struct {
	// ID is containerd's; Namespace is containerd's namespace.
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Image     string `json:"image,omitempty"`
	Namespace string `json:"containerd_namespace,omitempty"`
}

// What ended a container: values of Verdict.Ended.
const (
	EndedOOM     = "oom"
	EndedStopped = "stopped"
	EndedSignal  = "signal"
	EndedExited  = "exited"
)

// EvidenceStatus is the Evidence of a verdict by the status of the pod alone.
const EvidenceStatus = "status of the pod"

// Verdict is what ended a run, as the shim has decided.
type Verdict struct {
	Ended string `json:"ended"`
	// Cause is whose limit fired: container, pod, ancestor, node, cpuset, mempolicy,
	// sysrq or unknown; "" if the OOM killer did not end the run.
	Cause string `json:"cause,omitempty"`
	// InitVictim reports whether the OOM killer chose init itself: yes, no or unknown.
	InitVictim string `json:"init_victim"`
	// Kills counts the container's processes that the OOM killer ended in its whole life.
	Kills uint64 `json:"kills"`
	// Rule is the number of the rule that decided (docs/result.md), Evidence the source,
	// Tier the ledger's.
	Rule     string `json:"rule"`
	Evidence string `json:"evidence"`
	Tier     string `json:"tier,omitempty"`
	// CgroupGone reports whether the evidence may miss kills at the very end.
	CgroupGone bool `json:"cgroup_gone,omitempty"`
	// Acked reports whether containerd had acked the TaskOOM.
	Acked bool `json:"acked,omitempty"`
}

// Process is a process of the node, or the kernel itself. PID and UID are not there, and
// Cgroup is empty, where the agent may not show them.
type Process struct {
	Kernel bool       `json:"kernel,omitempty"`
	PID    int        `json:"pid,omitempty"`
	Comm   string     `json:"comm"`
	UID    *uint32    `json:"uid,omitempty"`
	Cgroup string     `json:"cgroup,omitempty"`
	At     *time.Time `json:"at,omitempty"`
}

// OOMEvent is one invocation of the OOM killer.
type OOMEvent struct {
	ID    string    `json:"id,omitempty"`
	Time  time.Time `json:"time"`
	Cause string    `json:"cause"`
	Tier  string    `json:"tier,omitempty"`
	// LimitOf names the cgroup whose limit was exceeded, where the agent may show it.
	LimitOf string `json:"limit_of,omitempty"`
	// LimitBytes is the memory limit without swap. UsageBytes is what was used when the OOM
	// killer chose; of an event without Kinds the most that was used, as read after the kill.
	LimitBytes *uint64 `json:"limit_bytes"`
	UsageBytes *uint64 `json:"usage_bytes"`
	// Killed counts all victims; Victims are those in the run's container.
	Killed  int      `json:"killed"`
	Victims []Victim `json:"victims"`
	// Kinds is what filled the memory, Candidates are the largest processes then.
	Kinds      []Kind      `json:"kinds,omitempty"`
	Candidates []Candidate `json:"candidates,omitempty"`
}

// Victim is a process that the OOM killer ended.
type Victim struct {
	PID  int    `json:"pid,omitempty"` // 0 where it may not be shown
	Comm string `json:"comm"`
	Init bool   `json:"init"`
	// Lineage is init, descendant (of init), exec (an exec'd process or its descendant),
	// or "" where it is not known.
	Lineage      string  `json:"lineage,omitempty"`
	SharedMemory bool    `json:"shared_memory,omitempty"`
	OOMScoreAdj  int     `json:"oom_score_adj"`
	RSS          *uint64 `json:"rss_bytes"`
	Anon         *uint64 `json:"anon_bytes"`
	File         *uint64 `json:"file_bytes"`
	Shmem        *uint64 `json:"shmem_bytes"`
	Swap         uint64  `json:"swap_bytes,omitempty"` // beside RSS
}

// Kind is a part of the memory, with its name for people.
type Kind struct {
	Name  string `json:"name"`
	Bytes uint64 `json:"bytes"`
}

// Candidate is a process that the OOM killer has looked at.
type Candidate struct {
	PID         int    `json:"pid,omitempty"`
	Comm        string `json:"comm"`
	RSS         uint64 `json:"rss_bytes"`
	Swap        uint64 `json:"swap_bytes,omitempty"`
	OOMScoreAdj int    `json:"oom_score_adj"`
}

// Memory is a container's memory in bytes.
type Memory struct {
	// UsedAtOOM is what the container used when the OOM killer ended the run, if Peak is not
	// known: see usedAtOOM. It is no peak.
	UsedAtOOM *uint64 `json:"used_at_oom_bytes,omitempty"`
	Peak      *uint64 `json:"peak_bytes"`
	Limit     *uint64 `json:"limit_bytes"`
	Unlimited bool    `json:"unlimited,omitempty"`
	Request   *uint64 `json:"request_bytes"`
}

// Recent counts what ended runs of the same container in the same pod before.
type Recent struct {
	Hours int `json:"hours"`
	Runs  int `json:"runs"`
	OOM   int `json:"oom"`
}

// Missing is a field that is not known, by its JSON name, and why.
type Missing struct {
	Field   string `json:"field"`
	Because string `json:"because"`
}

// Lacks adds a field that is not known. The first reason for a field stands.
func (r *Run) Lacks(field, because string) {
	if _, ok := r.missing(field); !ok {
		r.Missing = append(r.Missing, Missing{field, because})
	}
}

// missing returns why a field is not known.
func (r *Run) missing(field string) (string, bool) {
	for _, m := range r.Missing {
		if m.Field == field {
			return m.Because, true
		}
	}
	return "", false
}

// OOMKilled reports whether the OOM killer ended the run. A run without a verdict is
// OOM-killed if its init was a victim.
func (r *Run) OOMKilled() bool {
	if r.Verdict != nil {
		return r.Verdict.Ended == EndedOOM
	}
	if r.OOM == nil {
		return false
	}
	for _, v := range r.OOM.Victims {
		if v.Init {
			return true
		}
	}
	return false
}
