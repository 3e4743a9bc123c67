//go:build linux

package fire

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// The points at which a shim can die on the way of an exit, in their order.
var (
	beforeStart = []string{"created", "armed"}
	onTheWay    = []string{"reaped", "read", "decided", "announced", "recorded", "before the release", "released"}
	ofOOMsOnly  = []string{"acked: " + oomTopic, "acked"}
	// At these points the record may not have the status yet.
	unrecorded = []string{"reaped", "read"}
)

// faulty starts a node whose shims die at a fault point.
func faulty(t *testing.T, point string) *shimtest.Node {
	t.Helper()
	return node(t, "", func(c *shimtest.Config) {
		c.Shim = shimtest.OursWithFaults(t)
		c.Protocol = shimtest.ChosenProtocol(t)
		c.Env = append(c.Env, "OOMWITNESS_FAULT="+point)
	})
}

// doomed starts a container whose shim may die before it answers.
func doomed(t *testing.T, n *shimtest.Node, args func(*specs.Spec)) *shimtest.Box {
	t.Helper()
	b := n.NewBundle("c", args, small)
	s, err := n.StartShim(deadline(t), b)
	require.NoError(t, err)
	c := createIn(t, s, b)
	_, _ = s.Task().Start(deadline(t), &task.StartRequest{ID: b.ID})
	return c
}

// removal is the answer of the delete command, and the number of TaskOOMs that containerd has
// by then.
type removal struct {
	*task.DeleteResponse
	stderr string
	ooms   int
	took   time.Duration
}

// remove runs the delete command, as containerd does when a shim's connection is closed.
func remove(t *testing.T, n *shimtest.Node, b *shimtest.Bundle) removal {
	t.Helper()
	begun := time.Now()
	answer, stderr, err := n.DeleteDead(deadline(t), b)
	took := time.Since(begun)
	require.NoError(t, err, "%s", stderr)
	ooms := n.Events.Select(shimtest.All(isOOM, shimtest.Container(b.ID)))
	return removal{answer, stderr, len(ooms), took}
}

// requireRemoved wants nothing left of a container and its shim.
func requireRemoved(t *testing.T, n *shimtest.Node, s *shimtest.Shim, b *shimtest.Bundle) {
	t.Helper()
	require.NoFileExists(t, strings.TrimPrefix(s.Address, "unix://"), "the socket of a dead shim")
	require.NoError(t, b.Remove())
	require.NoDirExists(t, b.Path)
	entries, err := os.ReadDir(n.RuncRoot() + "/" + n.Namespace())
	require.NoError(t, err)
	require.Empty(t, entries, "runc's state")
}

// TestShimDiesOnTheWay has the shim killed, or crash, at each point on the way of an exit. The
// delete command must return the true exit, and containerd must have the TaskOOM before that if
// the exit was an OOM. FAULT_RUNS is the number of runs.
func TestShimDiesOnTheWay(t *testing.T) {
	for _, exit := range []struct {
		name   string
		args   []string
		status uint32
		oom    bool
		// unreaped is the expected verdict if the shim died before it recorded the status. The
		// status is then taken to be 137.
		unreaped bool
		points   []string
	}{
		{"hog", []string{"hog"}, statusKilled, true, true, append(onTheWay, ofOOMsOnly...)},
		{"child", []string{"child-oom-exit", "7"}, 7, true, true, append(onTheWay, ofOOMsOnly...)},
		{"child-0", []string{"child-oom-exit", "0"}, 0, false, true, onTheWay},
		{"exit-3", []string{"exit", "3"}, 3, false, false, onTheWay},
	} {
		for _, point := range exit.points {
			for _, how := range []string{"", "panic:"} {
				if how != "" && exit.name != "hog" {
					continue
				}
				t.Run(exit.name+"/"+how+point, func(t *testing.T) {
					for range counts.FromEnv(t, "FAULT_RUNS", 1) {
						n := faulty(t, how+point)
						c := doomed(t, n, shimtest.Args(exit.args...))
						require.NoError(t, c.Shim.WaitExit(deadline(t)), "the shim lives on")
						got := remove(t, n, c.Bundle)
						require.Equal(t, c.Pid, int(got.Pid))
						oom := exit.oom
						if got.ExitStatus != exit.status && slices.Contains(unrecorded, point) {
							require.EqualValues(t, statusKilled, got.ExitStatus, "%s", got.stderr)
							t.Logf("died before anyone had recorded the status %d", exit.status)
							oom = exit.unreaped
						} else {
							require.Equal(t, exit.status, got.ExitStatus, "%s", got.stderr)
						}
						reportedOnce(t, got, oom, exit.name == "hog", point)
						requireRemoved(t, n, c.Shim, c.Bundle)
					}
				})
			}
		}
	}
}

// reportedOnce compares the TaskOOMs. A shim that died between containerd's ack and the record
// of that ack has left no trace of the ack: then there are two. For a kill of init, an early
// TaskOOM may have come before the exit.
func reportedOnce(t *testing.T, got removal, oom, early bool, point string) {
	t.Helper()
	switch {
	case !oom:
		require.Zero(t, got.ooms, "%s", got.stderr)
	case early || point == "announced" || point == "recorded": // the TaskOOM may have been acked already
		require.Contains(t, []int{1, 2}, got.ooms, "%s", got.stderr)
	case point == "acked: "+oomTopic || point == "acked":
		require.Equal(t, 2, got.ooms, "%s", got.stderr)
	default:
		require.Equal(t, 1, got.ooms, "%s", got.stderr)
	}
}

// TestShimDiesBeforeTheStart has the shim die in Create: nothing ran, and nothing is an OOM.
func TestShimDiesBeforeTheStart(t *testing.T) {
	for _, point := range beforeStart {
		t.Run(point, func(t *testing.T) {
			n := faulty(t, point)
			b := n.NewBundle("c", shimtest.Args("hog"), small)
			s, err := n.StartShim(deadline(t), b)
			require.NoError(t, err)
			_, err = s.Task().Create(deadline(t), b.CreateRequest())
			require.Error(t, err)
			require.NoError(t, s.WaitExit(deadline(t)))
			got := remove(t, n, b)
			require.EqualValues(t, statusKilled, got.ExitStatus)
			require.Zero(t, got.ooms)
			requireRemoved(t, n, s, b)
		})
	}
}

// TestShimDiesInTheDelete has the shim die when runc has deleted the container, and containerd
// has no answer yet.
func TestShimDiesInTheDelete(t *testing.T) {
	n := faulty(t, "deleted")
	c := n.Run("c", shimtest.Args("hog"), small)
	get(t, watchWait(deadline(t), c), statusKilled)
	_, err := c.Delete(deadline(t))
	require.Error(t, err)
	require.NoError(t, c.Shim.WaitExit(deadline(t)))
	got := remove(t, n, c.Bundle)
	require.EqualValues(t, statusKilled, got.ExitStatus)
	require.Equal(t, 1, got.ooms, "it was acked: %s", got.stderr)
	requireRemoved(t, n, c.Shim, c.Bundle)
}

// TestTheRemoverDiesToo has the delete command die as well, as when containerd kills a slow
// one. The next delete command must return the same, though the cgroup may be gone by then.
func TestTheRemoverDiesToo(t *testing.T) {
	for _, point := range []string{"collected", "removed"} {
		t.Run(point, func(t *testing.T) {
			n := faulty(t, "delete:"+point)
			release := n.Events.Hold(isOOM)
			c := n.Run("c", shimtest.Args("hog"), small)
			_, err := n.Events.WaitAttempt(deadline(t), isOOM)
			require.NoError(t, err)
			require.NoError(t, c.Shim.KillMidCall(deadline(t)))
			_, _, err = n.DeleteDead(deadline(t), c.Bundle)
			require.ErrorContains(t, err, "killed")
			n.Events.CloseConnections()
			n.SetShim(shimtest.Ours(t))
			release()
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, statusKilled, got.ExitStatus)
			require.Equal(t, 1, got.ooms, "%s", got.stderr)
			requireRemoved(t, n, c.Shim, c.Bundle)
		})
	}
}

// TestInitOutlivesTheShim kills the shim of a running container, also of one with a killed
// child. The removal of the container is no OOM.
func TestInitOutlivesTheShim(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		ready string
	}{
		"nothing killed": {[]string{"trap-term", "3"}, "ready"},
		"child killed":   {[]string{"child-oom-sleep"}, "child died"},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, "")
			c := n.Run("c", shimtest.Args(test.args...), small)
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), test.ready))
			require.NoError(t, c.Shim.Kill(deadline(t)))
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, statusKilled, got.ExitStatus)
			require.Equal(t, c.Pid, int(got.Pid))
			require.Zero(t, got.ooms, "%s", got.stderr)
			require.Contains(t, got.stderr, "ended=stopped")
			requireRemoved(t, n, c.Shim, c.Bundle)
		})
	}
}

// TestKilledAfterTheShim has init OOM-killed when its shim is dead already: nobody has the
// status.
func TestKilledAfterTheShim(t *testing.T) {
	n := node(t, "")
	c := n.Run("c", shimtest.Args("hog", "16"), small)
	require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
	require.NoError(t, c.Shim.Kill(deadline(t)))
	killInit(t, n, c)
	got := remove(t, n, c.Bundle)
	require.EqualValues(t, statusKilled, got.ExitStatus)
	require.Equal(t, 1, got.ooms, "%s", got.stderr)
	requireRemoved(t, n, c.Shim, c.Bundle)
}

// killInit has the OOM killer end init because of another process in the same cgroup, and waits
// for init's end.
func killInit(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", c.Pid), []byte("1000"), 0o644))
	hog := exec.Command("sh", "-c", `echo $$ > "$0" && exec "$1" hog`, filepath.Join(cgroupOf(n, c.ID), "cgroup.procs"), shimtest.WorkloadBinary(t))
	require.NoError(t, hog.Start())
	for ctx := deadline(t); runs(c.Pid); {
		require.NoError(t, pause(ctx), "init lives on")
	}
	_ = hog.Process.Kill()
	_ = hog.Wait()
}

// runs reports whether a process runs. A process that has ended and was not reaped does not.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestStoppedThenTheShimDies has containerd ask for the stop, and the shim die before its
// verdict. The record has the request.
func TestStoppedThenTheShimDies(t *testing.T) {
	n := faulty(t, "reaped")
	c := n.Run("c", shimtest.Args("child-oom-sleep"), small)
	require.NoError(t, c.Stdio.WaitOutput(deadline(t), "child died"))
	_ = c.Kill(deadline(t), uint32(unix.SIGTERM)) // the shim may be dead before it answers
	require.NoError(t, c.Shim.WaitExit(deadline(t)))
	got := remove(t, n, c.Bundle)
	require.Contains(t, []uint32{143, statusKilled}, got.ExitStatus)
	require.Zero(t, got.ooms, "%s", got.stderr)
	require.Contains(t, got.stderr, "rule=3")
}

// TestTheEndpointOfADeadShim has the endpoint not answer, or be absent, when the container is
// removed. The answer must be right, and within containerd's time.
func TestTheEndpointOfADeadShim(t *testing.T) {
	// containerd's own limit (core/runtime/v2/shim.go, cleanupTimeout).
	const cleanup = 5 * time.Second
	for name, test := range map[string]struct {
		spoil func(n *shimtest.Node) (mend func())
		left  bool // the TaskOOM is left to a deferred publisher
	}{
		"never answers": {func(n *shimtest.Node) func() { return n.Events.Hold(isOOM) }, true},
		"is away": {func(n *shimtest.Node) func() {
			n.Events.StopListening()
			return func() { require.NoError(t, n.Events.Resume()) }
		}, true},
		"refuses first": {func(n *shimtest.Node) func() {
			n.Events.Fail(isOOM, context.DeadlineExceeded, 3)
			return func() {}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := faulty(t, "decided")
			c := doomed(t, n, shimtest.Args("child-oom-exit", "7")) // no early TaskOOM is possible here
			require.NoError(t, c.Shim.WaitExit(deadline(t)))
			mend := test.spoil(n)
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, 7, got.ExitStatus)
			require.Less(t, got.took, cleanup, "containerd would have killed it")
			if !test.left {
				require.Equal(t, 1, got.ooms, "%s", got.stderr)
				require.Empty(t, deferredPublishers(t, n))
				return
			}
			require.Zero(t, got.ooms)
			require.Contains(t, got.stderr, "a deferred publisher waits for it")
			require.Len(t, deferredPublishers(t, n), 1)
			mend()
			_, err := n.Events.WaitN(deadline(t), shimtest.All(isOOM, shimtest.Container(c.ID)), 2)
			require.NoError(t, err, "the deferred publisher's")
			for ctx := deadline(t); len(deferredPublishers(t, n)) > 0; {
				require.NoError(t, pause(ctx), "the deferred publisher lives on")
			}
		})
	}
}

// deferredPublishers returns the pids of a node's deferred publishers.
func deferredPublishers(t *testing.T, n *shimtest.Node) (pids []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range lines {
		line, _ := os.ReadFile(file) // the process may have ended
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ"))
		if strings.HasSuffix(string(line), "\x00publish\x00") && strings.Contains(string(env), n.Dir+"/") {
			pids = append(pids, file)
		}
	}
	return pids
}

// TestAPodOfADeadShim kills a pod's shim: each container is reported by itself.
func TestAPodOfADeadShim(t *testing.T) {
	n := node(t, "")
	sandbox := pod(t, n)
	release := n.Events.Hold(isOOM)
	killed := n.RunIn(sandbox.Shim, "killed", shimtest.Args("hog"), small)
	lives := n.RunIn(sandbox.Shim, "lives", shimtest.Args("trap-term", "3"))
	require.NoError(t, lives.Stdio.WaitOutput(deadline(t), "ready"))
	_, err := n.Events.WaitAttempt(deadline(t), isOOM)
	require.NoError(t, err)
	require.NoError(t, sandbox.Shim.KillMidCall(deadline(t)))
	release()
	require.Equal(t, 1, remove(t, n, killed.Bundle).ooms)
	require.Zero(t, remove(t, n, lives.Bundle).ooms)
	require.Zero(t, remove(t, n, sandbox.Bundle).ooms)
	requireRemoved(t, n, sandbox.Shim, sandbox.Bundle)
	onlyOurs(t, n, "pod", "killed", "lives")
}
