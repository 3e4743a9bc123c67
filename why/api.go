package why

import "time"

// Paths of the agent's API.
const (
	PathWhy    = "/api/v1/why"    // answers with a Document
	PathTop    = "/api/v1/top"    // answers with a Top
	PathStatus = "/api/v1/status" // answers with a Status
)

// Status is the state of an agent.
type Status struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Version string    `json:"version"`
	// Ready reports whether the agent reads the ledger; Why says why not.
	Ready bool   `json:"ready"`
	Why   string `json:"why,omitempty"`
	// Tier is the ledger's, "" without one.
	Tier string `json:"tier"`
	// KubeletCgroupRoot are the values of kubelet's --cgroup-root, pods are below kubepods
	// in these alone; KubeletCgroupRootSource says where the agent has them from: flag, own
	// pod, kubelet configuration, default.
	KubeletCgroupRoot       []string `json:"kubelet_cgroup_root,omitempty"`
	KubeletCgroupRootSource string   `json:"kubelet_cgroup_root_source,omitempty"`
	// Lost are victims that the ledger counted and has no record of.
	Lost uint64 `json:"lost"`
	// Events and Exits are how many are kept.
	Events int `json:"events"`
	Exits  int `json:"exits"`
	// Without names what the agent goes without, with the reason.
	Without []string `json:"without,omitempty"`
}

// Top counts ends of containers and OOM kills of one node.
type Top struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	Node   string    `json:"node"`
	Since  time.Time `json:"since"`
	// Kept is the time of the oldest exit or OOM event that the agent still has: before
	// that nothing is counted.
	Kept *time.Time `json:"kept_since"`
	// CompleteSince is the time since which no exit and no OOM event is known to be missing;
	// null where that is not known. What came before is counted as far as it is kept: the
	// agent did not run, or newer ones have taken the room.
	CompleteSince *time.Time `json:"complete_since"`
	// Lost are victims that the ledger counted and has no record of, so that they are in no
	// row.
	Lost uint64 `json:"lost,omitempty"`
	// Rows are those with the most first. Omitted counts the others, Hidden those of the
	// node's own.
	Rows    []Count `json:"rows"`
	Omitted int     `json:"omitted,omitempty"`
	Hidden  int     `json:"hidden,omitempty"`
}

// MaxRows bounds the rows of a Top.
const MaxRows = 1000

// Count counts for one container of a pod.
type Count struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Container string `json:"container"`
	// Ended counts runs that ended, OOM those that the OOM killer ended, Kills the
	// processes that the OOM killer ended.
	Ended int `json:"ended"`
	OOM   int `json:"oom"`
	Kills int `json:"kills"`
	// Last is the newest OOM kill, and Cause whose limit it was; null without one.
	Last  *time.Time `json:"last_kill"`
	Cause string     `json:"cause,omitempty"`
	// Peak is the largest memory.peak of the runs that ended, Limit the limit then.
	Peak  *uint64 `json:"peak_bytes"`
	Limit *uint64 `json:"limit_bytes"`
}
