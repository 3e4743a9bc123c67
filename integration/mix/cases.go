//go:build linux

// Package mix runs containers that end in every way that matters, under a real
// containerd and with a client that waits and deletes at once, and says what was
// reported of each. The scenario tests, the comparison with the stock shim and
// the demonstration all stand on it. It runs in the node's guest.
package mix

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oomwitness/oomwitness/oom"
)

// Want is the verdict of a case, as it should be reported.
type Want struct {
	// OOM reports whether the container should be reported as OOM-killed.
	OOM bool
	// Status is the exit status.
	Status uint32
	// Cause is the one in the record, where counters can tell it.
	Cause string
	// Init reports whether init was a victim, and Kills counts the processes killed;
	// Unknown and 0 are not asked for. Only the ledger knows them.
	Init  oom.Known
	Kills uint64
	// LedgerOnly says that counters alone can't tell this case from an OOM: the
	// design's rule 5 reports one.
	LedgerOnly bool
}

// Container is what a case runs.
type Container struct {
	Binary  string // the workload, if empty
	Args    []string
	Limit   int64 // bytes; 0 is none
	Unified map[string]string
	Score   int    // oom_score_adj
	Mems    string // NUMA nodes whose memory it may have
	Nested  bool   // gets its cgroup tree writable
	Output  bool   // what it prints is read
	// Swap is how many bytes of swap it may have beside the limit; 0 for the default.
	Swap int64
	// Rootfs is another root file system than the Runner's, Writable for its processes.
	Rootfs   string
	Writable bool
	Path     string        // where programs are found, for init and its children
	Mounts   []specs.Mount // further ones
	// Annotations of the spec, beside the one that names the pod.
	Annotations map[string]string
}

// Case is one way for a container to end.
type Case struct {
	Name string
	// Kernel says what the kernel does in it, for people.
	Kernel string
	Container
	// Pod is the pod that it is in, with others; one of its own if empty and it
	// needs one.
	Pod string
	// Sibling runs in the same pod, must be left alone and ends when it is over:
	// it says that it is ready, and exits 0 at SIGTERM.
	Sibling *Container
	// PodLimit is the limit of the pod's cgroup.
	PodLimit int64
	// Before prepares the node for the case, which then runs alone.
	Before func(context.Context) (undo func(), err error)
	// Act is what the client does between Start and the exit.
	Act  func(context.Context, *Running) error
	Want Want
}

// MiB in bytes.
const MiB = 1 << 20

const (
	smallLimit = 24 * MiB
	sigKilled  = 128 + uint32(syscall.SIGKILL)
	sigTermed  = 128 + uint32(syscall.SIGTERM)
)

// Cases are the scenarios, in the order in which they are told.
func Cases() []Case {
	return append(killedCases(), keptCases()...)
}

// Mix are the cases of which many runs are made.
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

// Find returns the case of a name.
func Find(name string) (Case, error) {
	for _, c := range Cases() {
		if c.Name == name {
			return c, nil
		}
	}
	return Case{}, fmt.Errorf("no case %q", name)
}

// killedCases are those that the OOM killer ends.
func killedCases() []Case {
	idle := &Container{Args: []string{"trap-term", "0"}, Limit: smallLimit, Output: true}
	return []Case{
		{
			Name: "init-oom", Kernel: "kills init at its own limit",
			Container: Container{Args: []string{"hog"}, Limit: 48 * MiB},
			Want:      Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 1},
		}, {
			Name: "early-oom", Kernel: "kills init milliseconds after Start",
			Container: Container{Args: []string{"hog"}, Limit: 12 * MiB},
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
			// How many are killed is not certain: the end of init ends the others too.
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

// keptCases are those that it does not.
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
