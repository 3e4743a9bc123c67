//go:build linux

package fire

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

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
// one. The TaskOOM comes from a deferred publisher. The next delete command must return the same,
// though the cgroup may be gone by then.
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
			require.Len(t, deferredPublishers(t, n), 1, "nobody else may ask for this container again")
			n.SetShim(shimtest.Ours(t))
			release()
			_, err = n.Events.WaitN(deadline(t), shimtest.All(isOOM, shimtest.Container(c.ID)), 1)
			require.NoError(t, err, "the deferred publisher's")
			got := remove(t, n, c.Bundle)
			require.EqualValues(t, statusKilled, got.ExitStatus)
			require.Equal(t, 2, got.ooms, "the deferred publisher's, and its own: %s", got.stderr)
			requireRemoved(t, n, c.Shim, c.Bundle)
			for ctx := deadline(t); len(deferredPublishers(t, n)) > 0; {
				require.NoError(t, pause(ctx), "the deferred publisher lives on")
			}
		})
	}
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
