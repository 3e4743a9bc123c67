//go:build linux

package mix

import (
	"context"
	"os"

	"github.com/oomwitness/oomwitness/oom"
)

// Corners returns the cases of the OOM killer that only a ledger can distinguish: kills that no
// counter counts, victims that are not the first thread of a process, and limits that belong to
// no cgroup.
func Corners() []Case {
	return append(oddVictims(), oddLimits()...)
}

func oddVictims() []Case {
	return []Case{
		{
			Name: "sharer-init", Kernel: "kills a child and, uncounted, init with whom it shares its memory",
			Container: Container{Args: []string{"sharer-init"}, Limit: smallLimit},
			Want:      Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 2},
		}, {
			Name: "sharer-child", Kernel: "kills a process and, uncounted, the one that init waits for",
			// Init must not be chosen while the sharer still holds the memory: the kernel does
			// not count the sharer as a victim.
			Container: Container{Args: []string{"sharer-child", "1"}, Limit: smallLimit, Score: -1000},
			Want:      Want{OOM: true, Status: 1, Cause: "container", Init: oom.No, Kills: 2},
		}, {
			Name: "leaderless", Kernel: "kills init, whose first thread has ended",
			Container: Container{Args: []string{"leaderless"}, Limit: smallLimit},
			Want:      Want{OOM: true, Status: sigKilled, Cause: "container", Init: oom.Yes, Kills: 1},
		}, {
			Name: "dying", Kernel: "marks a process that was dying already; init exits 1",
			Container: Container{Args: []string{"dying", "1"}, Limit: smallLimit},
			Want:      Want{Status: 1, Init: oom.No},
		}, {
			Name: "group-of-five", Kernel: "kills five processes in a nested cgroup at once; init exits 1",
			Container: Container{Args: []string{"groups", "1", "5", "1"}, Limit: 64 * MiB, Nested: true},
			Want:      Want{OOM: true, Status: 1, Cause: "container", Init: oom.No, Kills: 5},
		}, {
			Name: "storm", Kernel: "kills 200 children one after the other; init exits 1",
			Container: Container{Args: []string{"storm", "200", "1"}, Limit: smallLimit},
			Want:      Want{OOM: true, Status: 1, Cause: "container", Init: oom.No, Kills: 200},
		},
	}
}

// held is the memory in MiB of the processes that must be the largest.
const held = "200"

func oddLimits() []Case {
	return []Case{
		{
			Name: "filled-from-outside", Kernel: "kills init since a process of the node fills its memory",
			Container: Container{Args: []string{"gulp", held}, Score: 1000, Output: true},
			Before:    alone, Act: then(saidReady, fillUntilKilled),
			Want: Want{OOM: true, Status: sigKilled, Cause: "node", Init: oom.Yes, Kills: 1},
		}, {
			Name: "killed-outside", Kernel: "kills a process outside any container; SIGKILL from the host",
			Container: Container{Args: []string{"trap-term", "0"}, Output: true},
			Before:    alone, Act: then(saidReady, killOutside, hostKill),
			Want: Want{Status: sigKilled, Init: oom.No},
		}, {
			Name: "cpuset", Kernel: "kills init since the NUMA node of its cpuset is full",
			Container: Container{Args: []string{"gulp"}, Score: 1000, Mems: "1"}, Before: alone,
			Want: Want{OOM: true, Status: sigKilled, Cause: "cpuset", Init: oom.Yes, Kills: 1},
		}, {
			Name: "mempolicy", Kernel: "kills init since the NUMA node of its memory policy is full",
			Container: Container{Args: []string{"bind-node", "1"}, Score: 1000}, Before: alone,
			Want: Want{OOM: true, Status: sigKilled, Cause: "mempolicy", Init: oom.Yes, Kills: 1},
		}, {
			Name: "sysrq", Kernel: "kills init since an operator asks for it",
			Container: Container{Args: []string{"gulp", held}, Score: 1000, Output: true},
			Before:    alone, Act: then(saidReady, sysrqF),
			Want: Want{OOM: true, Status: sigKilled, Cause: "sysrq", Init: oom.Yes, Kills: 1},
		},
	}
}

// alone is the Before of a case that kills the largest process of the node.
func alone(context.Context) (undo func(), err error) { return func() {}, nil }

// fillUntilKilled fills the node's memory until the OOM killer has ended init.
func fillUntilKilled(ctx context.Context, r *Running) error {
	return fillUntilGone(ctx, int(r.Task.Pid()))
}

// killOutside has the OOM killer end a process that is in no container.
func killOutside(ctx context.Context, _ *Running) error {
	victim, err := startOutside(ctx, 1000, "gulp", held)
	if err != nil {
		return err
	}
	defer victim.end()
	if err := victim.ready(); err != nil {
		return err
	}
	return fillUntilGone(ctx, victim.cmd.Process.Pid)
}

func sysrqF(context.Context, *Running) error {
	return os.WriteFile("/proc/sysrq-trigger", []byte("f"), 0)
}
