//go:build linux

// Package mix runs containers that end in every relevant way, under a real containerd, with a
// client that calls Wait and then Delete at once. It returns what was reported of each. The
// scenario tests, the comparison with the stock shim and the demonstration use it. It runs in
// the node's guest.
package mix

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oomwitness/oomwitness/oom"
)

// Want is the expected report of a case.
type Want struct {
	// OOM reports whether the container should be reported as OOM-killed.
	OOM bool
	// Status is the exit status.
	Status uint32
	// Cause is the expected cause in the record, if counters can show it.
	Cause string
	// Init reports whether init was a victim, Kills counts the victims. Unknown and 0 are not
	// compared. Only the ledger knows these two.
	Init  oom.Known
	Kills uint64
	// LedgerOnly says that counters alone cannot distinguish this case from an OOM: by rule 5
	// of the verdict the shim then reports an OOM.
	LedgerOnly bool
}

// Container describes the container of a case.
type Container struct {
	Binary  string // the workload, if empty
	Args    []string
	Limit   int64 // bytes; 0 is none
	Unified map[string]string
	Score   int    // oom_score_adj
	Mems    string // NUMA nodes whose memory the container may use
	Nested  bool   // the container's cgroup is mounted writable
	Output  bool   // the case reads the container's output
	// Swap is the limit of swap beside Limit, bytes; 0 for the default.
	Swap int64
	// Rootfs is a root file system other than the Runner's. Writable says that processes may
	// write to it.
	Rootfs   string
	Writable bool
	Path     string        // the PATH of init and its children
	Mounts   []specs.Mount // further mounts
	// Annotations are annotations of the spec, beside the one that names the pod.
	Annotations map[string]string
}

// Case is one way for a container to end.
type Case struct {
	Name string
	// Kernel describes for people what the kernel does in this case.
	Kernel string
	Container
	// Pod is the name of a pod shared with other cases. If it is empty, a case that needs a pod
	// gets its own.
	Pod string
	// Sibling runs in the same pod and must not be killed. It prints that it is ready, and
	// exits with 0 at SIGTERM.
	Sibling *Container
	// PodLimit is the limit of the pod's cgroup, bytes.
	PodLimit int64
	// Before prepares the node for the case. No other case runs at that time.
	Before func(context.Context) (undo func(), err error)
	// Act is what the client does between Start and the exit.
	Act  func(context.Context, *Running) error
	Want Want
}

// MiB is a MiB in bytes.
const MiB = 1 << 20

const (
	// smallLimit is the lowest limit of a case. runc's init needs 8 MiB, in 1 of 200 runs 10,
	// and once more than 13: its heap is of transparent huge pages, 2 MiB each.
	smallLimit = 24 * MiB
	sigKilled  = 128 + uint32(syscall.SIGKILL)
	sigTermed  = 128 + uint32(syscall.SIGTERM)
)

// Cases returns the scenarios, in the order in which they are shown.
func Cases() []Case {
	return append(killedCases(), keptCases()...)
}

// Mix returns the cases that run many times.
func Mix() []Case {
	var out []Case
	for _, c := range Cases() {
		switch c.Name {
		case "init-oom", "early-oom", "child-oom-exit-1", "child-oom-exit-0", "child-oom-sigterm",
			"client-sigkill", "oom-group", "exit-0", "exit-3":
			out = append(out, c)
		}
	}
	return out
}

// Find returns the case with a name.
func Find(name string) (Case, error) {
	for _, c := range Cases() {
		if c.Name == name {
			return c, nil
		}
	}
	return Case{}, fmt.Errorf("no case %q", name)
}

// killedCases are the cases that the OOM killer ends.
func killedCases() []Case {
	idle := &Container{Args: []string{"trap-term", "0"}, Limit: smallLimit, Output: true}
	return []Case{
		{
			Name: "init-oom", Kernel: "kills init at its own limit",
			Container: Container{Args: []string{"hog"}, Limit: 48 * MiB},
			Want:      Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 1},
		}, {
			Name: "early-oom", Kernel: "kills init milliseconds after Start",
			Container: Container{Args: []string{"hog"}, Limit: smallLimit},
			Want:      Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 1},
		}, {
			Name: "child-oom-exit-1", Kernel: "kills a child; init exits 1 at once",
			Container: Container{Args: []string{"child-oom-exit", "1"}, Limit: smallLimit},
			Want:      Want{OOM: true, Status: 1, Cause: "container", Init: oom.No, Kills: 1},
		}, {
			Name: "oom-group", Kernel: "kills the whole cgroup (memory.oom.group)",
			Container: Container{
				Args: []string{"multi", "3"}, Limit: smallLimit,
				Unified: map[string]string{"memory.oom.group": "1"},
			},
			// The number of victims is not certain: the end of init ends the others too.
			Want: Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes},
		}, {
			Name: "one-of-two", Kernel: "kills init; a sibling in the pod lives on",
			Container: Container{Args: []string{"hog"}, Limit: smallLimit}, Sibling: idle,
			Want: Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 1},
		}, {
			Name: "pod-limit", Kernel: "kills init at the pod's limit",
			Container: Container{Args: []string{"hog"}, Limit: 200 * MiB, Score: 900}, Sibling: idle,
			PodLimit: 64 * MiB,
			Want:     Want{OOM: true, Status: sigKilled, Cause: "pod", Init: oom.Yes, Kills: 1},
		}, {
			Name: "nested-cgroup", Kernel: "kills a child in a nested cgroup; init exits 1",
			Container: Container{Args: []string{"nested", "16"}, Limit: 64 * MiB, Nested: true},
			Want:      Want{OOM: true, Status: 1, Cause: "container", Init: oom.No, Kills: 1},
		}, {
			Name: "host-sigkill-after-child-oom", Kernel: "killed a child long ago; then SIGKILL from the host",
			Container: Container{Args: []string{"child-oom-pause"}, Limit: smallLimit, Output: true},
			Act:       then(childDied, after(6*time.Second), hostKill),
			Want:      Want{OOM: false, Status: sigKilled, LedgerOnly: true},
		}, {
			Name: "node-wide", Kernel: "kills init since the node's memory is full",
			Container: Container{Args: []string{"gulp"}, Score: 1000},
			Before:    fillNode,
			Want:      Want{OOM: true, Status: sigKilled, Cause: "node", Init: oom.Yes, Kills: 1},
		},
	}
}

// keptCases are the cases that end in another way.
func keptCases() []Case {
	return []Case{
		{
			Name: "child-oom-exit-0", Kernel: "kills a child; init exits 0 a second later",
			Container: Container{Args: []string{"child-oom-exit", "0", "1000"}, Limit: smallLimit},
		}, {
			Name: "child-oom-sigterm", Kernel: "kills a child; later SIGTERM from the client",
			Container: Container{Args: []string{"child-oom-sleep"}, Limit: smallLimit, Output: true},
			Act:       then(childDied, clientKill(syscall.SIGTERM)),
			Want:      Want{Status: sigTermed},
		}, {
			Name: "client-sigkill", Kernel: "kills nothing; SIGKILL from the client",
			Container: Container{Args: []string{"sleep", "600"}, Limit: smallLimit},
			Act:       clientKill(syscall.SIGKILL),
			Want:      Want{Status: sigKilled},
		}, {
			Name: "exec-oom", Kernel: "kills an exec; init exits 0",
			Container: Container{Args: []string{"trap-term", "0"}, Limit: smallLimit, Output: true},
			Act:       then(saidReady, execKilled, clientKill(syscall.SIGTERM)),
		}, {
			Name: "exit-0", Kernel: "kills nothing; init exits 0",
			Container: Container{Args: []string{"exit", "0"}, Limit: smallLimit},
		}, {
			Name: "exit-3", Kernel: "kills nothing; init exits 3",
			Container: Container{Args: []string{"exit", "3"}, Limit: smallLimit},
			Want:      Want{Status: 3},
		}, {
			Name: "paused", Kernel: "kills nothing; paused and resumed, init exits 3",
			Container: Container{Args: []string{"trap-term", "3"}, Limit: smallLimit, Output: true},
			Act:       then(saidReady, pauseResume, clientKill(syscall.SIGTERM)),
			Want:      Want{Status: 3},
		}, {
			Name: "updated-limit", Kernel: "kills nothing; the limit is raised while it runs",
			Container: Container{Args: []string{"trap-term", "3"}, Limit: smallLimit, Output: true},
			Act:       then(saidReady, updateLimit(2*smallLimit), clientKill(syscall.SIGTERM)),
			Want:      Want{Status: 3},
		},
	}
}
