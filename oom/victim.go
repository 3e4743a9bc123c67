package oom

import "time"

// Lineage is how a victim is related to the init of its container.
type Lineage string

// The lineages.
const (
	// LineageUnknown is that of a victim whose ancestors are not known: of an orphan in
	// a shared PID namespace, or behind more ancestors than are recorded.
	LineageUnknown Lineage = ""
	// LineageInit is init itself.
	LineageInit Lineage = "init"
	// LineageDescendant is a process that init has started, or one of its children has.
	LineageDescendant Lineage = "descendant"
	// LineageExec is an exec'd process of the container, or a descendant of one: its
	// ancestors lead out of the container at the shim, not at init.
	LineageExec Lineage = "exec"
)

// MaxVictims bounds the victims that an Evidence names, the newest of a container.
const MaxVictims = 16

// Victim is one process that the OOM killer has ended.
type Victim struct {
	// Seq is the number of the OOM event. It orders victims for good, as no clock and no
	// count does.
	Seq uint64 `json:"seq"`
	// At is the time of the kill.
	At         time.Time `json:"at"`
	PID        int       `json:"pid"` // in the node's PID namespace
	StartTicks uint64    `json:"startTicks,omitempty"`
	Comm       string    `json:"comm"`
	Lineage    Lineage   `json:"lineage,omitempty"`
	Cause      Cause     `json:"cause"`
	// Limit is the ID of the cgroup whose limit fired; 0 where none did, or where it is
	// not known.
	Limit uint64 `json:"limit,omitempty"`
	// LimitPath is the path of that cgroup below the mount, where Cause does not say whose
	// cgroup it is; "" where the cgroup has gone.
	LimitPath string `json:"limitPath,omitempty"`
	// The sizes, in bytes.
	Anon  uint64 `json:"anon"`
	File  uint64 `json:"file"`
	Shmem uint64 `json:"shmem"`
	Swap  uint64 `json:"swap,omitempty"`
}

// Sender is the process that sent a SIGKILL to init, the OOM killer apart.
type Sender struct {
	At         time.Time `json:"at"`
	PID        int       `json:"pid"` // in the node's PID namespace; 0 for the kernel itself
	StartTicks uint64    `json:"startTicks,omitempty"`
	Comm       string    `json:"comm"`
	UID        uint32    `json:"uid"`
	// Cgroup is the ID of the sender's cgroup, and CgroupPath its path below the mount,
	// "" where the cgroup has gone.
	Cgroup     uint64 `json:"cgroup,omitempty"`
	CgroupPath string `json:"cgroupPath,omitempty"`
}

// Memory is what filled a limiting cgroup, or the node, when the OOM killer chose a
// victim. All figures are bytes. A figure that is named in Unknown is 0.
type Memory struct {
	Usage uint64 `json:"usage"`
	Limit uint64 `json:"limit"` // 0 where there is none
	Swap  uint64 `json:"swap,omitempty"`
	// Anon, File, Shmem and Kernel are the kinds. File leaves Shmem out: tmpfs and
	// emptyDir of medium Memory.
	Anon   uint64 `json:"anon"`
	File   uint64 `json:"file"`
	Shmem  uint64 `json:"shmem"`
	Kernel uint64 `json:"kernel"`
	// Slab, Stacks, PageTables and Sockets are parts of Kernel, except for Sockets,
	// which cgroup v2 counts beside it.
	Slab       uint64 `json:"slab,omitempty"`
	Stacks     uint64 `json:"stacks,omitempty"`
	PageTables uint64 `json:"pageTables,omitempty"`
	Sockets    uint64 `json:"sockets,omitempty"`
	// Candidates are the largest processes that the OOM killer has looked at.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Unknown names what the tier of the ledger does not have, such as "kinds", "candidates".
	Unknown []string `json:"unknown,omitempty"`
}

// Candidate is a process that the OOM killer has looked at.
type Candidate struct {
	PID      int    `json:"pid"`
	Comm     string `json:"comm"`
	RSS      uint64 `json:"rss"` // bytes
	Swap     uint64 `json:"swap,omitempty"`
	ScoreAdj int    `json:"oomScoreAdj"`
}
