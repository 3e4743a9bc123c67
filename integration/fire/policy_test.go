//go:build linux

package fire

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// ownStatus is the status that the pod chooses for an OOM.
const ownStatus = 217

var (
	ownCode = shimtest.Annotation(codeAnnotation, "217")
	named   = func(name string) change { return shimtest.Annotation(nameAnnotation, name) }
)

// exitsAs wants that status in a container's events.
func exitsAs(t *testing.T, n *shimtest.Node, c *shimtest.Box, want uint32) {
	t.Helper()
	for _, e := range n.Events.Select(shimtest.Container(c.ID)) {
		switch m := e.Message.(type) {
		case *eventsapi.TaskExit:
			require.Equal(t, want, m.ExitStatus, "%s", e)
		case *eventsapi.TaskDelete:
			require.Equal(t, want, m.ExitStatus, "%s", e)
		}
	}
}

// TestExitCode has a pod choose the status of an OOM, for all of its containers or for one. All
// API paths show that status, and other exits are not changed.
func TestExitCode(t *testing.T) {
	n := node(t, patient)
	sandbox := pod(t, n)
	for name, test := range map[string]struct {
		args       []string
		signal     unix.Signal // sent by the node
		stop       uint32      // sent by containerd
		annotation change
		true, want uint32
		oom        bool
	}{
		"hog":            {[]string{"hog"}, 0, 0, ownCode, statusKilled, ownStatus, true},
		"parent-gives-1": {[]string{"child-oom-exit", "1"}, 0, 0, ownCode, 1, ownStatus, true},
		"by-name":        {[]string{"hog"}, 0, 0, shimtest.Annotation(codeAnnotation+".by-name", "217"), statusKilled, ownStatus, true},
		"of-another":     {[]string{"hog"}, 0, 0, shimtest.Annotation(codeAnnotation+".by-name", "217"), statusKilled, statusKilled, true},
		"killed":         {[]string{"trap-term", "0"}, unix.SIGKILL, 0, ownCode, statusKilled, statusKilled, false},
		"stopped":        {[]string{"child-oom-sleep"}, 0, uint32(unix.SIGTERM), ownCode, 143, 143, false},
		"fails":          {[]string{"exit", "1"}, 0, 0, ownCode, 1, 1, false},
		"completes":      {[]string{"child-oom-exit", "0"}, 0, 0, ownCode, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			c := n.RunIn(sandbox.Shim, name, shimtest.Args(test.args...), small, named(name), test.annotation)
			wait, state := watchWait(ctx, c), watch(func() (uint32, error) { return stopped(ctx, c) })
			switch {
			case test.signal != 0:
				require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
				kill(t, c, test.signal)
			case test.stop != 0:
				require.NoError(t, c.Stdio.WaitOutput(ctx, "child died"))
				require.NoError(t, c.Kill(ctx, test.stop))
			}
			get(t, wait, test.want)
			get(t, state, test.want)
			require.Equal(t, test.oom, stats(t, c).kills > 0, "containerd asks for it where a status is 137")
			answer, err := c.Delete(ctx)
			require.NoError(t, err)
			require.Equal(t, test.want, answer.ExitStatus)
			event(t, n, deleteTopic, c.ID)
			exitsAs(t, n, c, test.want)
			wantEvents(t, n, c, map[bool][]string{true: full, false: quiet}[test.oom]...)
			require.NoError(t, sandbox.Shim.WaitLog(ctx, "container="+name+" "))
			texts := []string{"msg=verdict", "container=" + name + " ", fmt.Sprintf("status=%d", test.true)}
			if test.true != test.want {
				texts = append(texts, fmt.Sprintf("reported_status=%d", test.want))
			}
			require.Len(t, logLines(sandbox.Shim.Logs(), texts...), 1)
		})
	}
	endPod(t, sandbox)
}

// TestExitCodeOfADeadShim has the shim die on the way of an OOM. The delete command must return
// the status that the shim would have reported, or has reported.
func TestExitCodeOfADeadShim(t *testing.T) {
	for _, point := range []string{"reaped", "decided", "before the release", "released", "deleted"} {
		for args, want := range map[[2]string]uint32{{"hog", "0"}: ownStatus, {"exit", "3"}: 3} {
			t.Run(args[0]+"/"+point, func(t *testing.T) {
				n := faulty(t, point)
				b := n.NewBundle("c", shimtest.Args(args[:]...), small, ownCode)
				s, err := n.StartShim(deadline(t), b)
				require.NoError(t, err)
				c := createIn(t, s, b)
				_, _ = s.Task().Start(deadline(t), &task.StartRequest{ID: b.ID}) // the shim may die before it answers
				wait := watchWait(deadline(t), c)
				if point == "deleted" {
					get(t, wait, want)
					_, err := c.Delete(deadline(t))
					require.Error(t, err)
				}
				require.NoError(t, s.WaitExit(deadline(t)))
				got := remove(t, n, b)
				if args[0] == "exit" && point == "reaped" && got.ExitStatus == statusKilled {
					return // the status was not recorded
				}
				require.Equal(t, want, got.ExitStatus, "%s", got.stderr)
				requireRemoved(t, n, s, b)
			})
		}
	}
}

// TestExitCodeAfterARestart has a restarted containerd ask for the status.
func TestExitCodeAfterARestart(t *testing.T) {
	for name, away := range map[string]bool{"killed while it is away": true, "it dies after the exit": false} {
		t.Run(name, func(t *testing.T) {
			n := node(t, "")
			c := n.Run("c", shimtest.Args("hog", "16"), ownCode)
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
			if away {
				die(t, n, c)
				killInit(t, n, c)
				require.NoError(t, c.Shim.WaitLog(deadline(t), "containerd did not ack an event"))
			} else {
				wait := watchWait(deadline(t), c)
				killInit(t, n, c)
				get(t, wait, ownStatus)
				event(t, n, exitTopic, c.ID)
				die(t, n, c)
			}
			recoversAs(t, n, c, back(t, n, c), ownStatus)
			exitsAs(t, n, c, ownStatus)
		})
	}
}

// TestExitCodeTooLate has the counters answer after the true status was reported. The status
// then stays, on every API path; the TaskOOM still comes.
func TestExitCodeTooLate(t *testing.T) {
	if unified() {
		t.Skip("needs cgroup v1: on v2 upstream's own watcher reads the same file, and with it the one goroutine hangs that handles all exits")
	}
	for name, dies := range map[string]bool{"shim lives": false, "shim dies": true} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, "hold_timeout = '2s'\n")
			c := n.Run("late", shimtest.Args("hog", "16"), ownCode)
			require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
			counters := counterFile(n, c.ID)
			stuck, uncover := coverStuckFor(t, counters)
			wait := watchWait(ctx, c)
			killInit(t, n, c)
			get(t, wait, statusKilled)
			require.NoError(t, c.Shim.WaitLog(ctx, "the hold timeout has passed, the exit is released"))
			uncover() // for the delete command
			require.NotZero(t, kernelKills(t, n, c.ID))
			if dies {
				require.NoError(t, c.Shim.KillMidCall(ctx))
				got := remove(t, n, c.Bundle)
				require.EqualValues(t, statusKilled, got.ExitStatus, "%s", got.stderr)
				require.Contains(t, []int{1, 2}, got.ooms, "the first at the kill; %s", got.stderr)
				return
			}
			require.NoError(t, os.WriteFile(stuck, []byte("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 0o600))
			event(t, n, oomTopic, c.ID)
			status, err := stopped(ctx, c)
			require.NoError(t, err)
			require.EqualValues(t, statusKilled, status)
			answer, err := c.Delete(ctx)
			require.NoError(t, err)
			require.EqualValues(t, statusKilled, answer.ExitStatus)
			event(t, n, deleteTopic, c.ID)
			exitsAs(t, n, c, statusKilled)
			shutdown(t, c)
		})
	}
}

// coverStuckFor mounts a fifo over a file until uncover is called.
func coverStuckFor(t *testing.T, path string) (stuck string, uncover func()) {
	t.Helper()
	stuck = filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(stuck, 0o600))
	require.NoError(t, unix.Mount(stuck, path, "", unix.MS_BIND, ""))
	uncover = sync.OnceFunc(func() { require.NoError(t, unix.Unmount(path, unix.MNT_DETACH)) })
	t.Cleanup(func() {
		uncover()
		if f, err := os.OpenFile(stuck, os.O_RDWR, 0); err == nil { // unblocks the readers
			_ = f.Close()
		}
	})
	return stuck, uncover
}

// TestForbidden: an annotation that the node's owner forbids is refused, and no other.
func TestForbidden(t *testing.T) {
	path := writeConfig(t, "allow = ['report', 'oom-exit-code']\n")
	n := shimtest.Start(t, shimtest.Config{Env: []string{configEnv(path)}})
	b := n.NewBundle("c", shimtest.Args("hog"), small, ownCode, shimtest.Annotation(groupAnnotation+".other", "true"))
	s, err := n.StartShim(deadline(t), b)
	require.NoError(t, err)
	_, err = s.Task().Create(deadline(t), b.CreateRequest())
	require.ErrorIs(t, errgrpc.ToNative(err), errdefs.ErrPermissionDenied)
	for _, text := range []string{`"oomwitness.io/oom-group.other"`, `"allow"`, path, `"report", "oom-exit-code"`} {
		require.ErrorContains(t, err, text)
	}
	forget(t, b, groupAnnotation+".other")
	c := createIn(t, s, b)
	start(t, c)
	get(t, watchWait(deadline(t), c), ownStatus)
	end(t, c)
	wantEvents(t, n, c, full...)
}

// TestGroupOnCgroup1: on cgroup v1 the annotation for memory.oom.group is refused, and nothing
// of the container is left.
func TestGroupOnCgroup1(t *testing.T) {
	if unified() {
		t.Skip("needs cgroup v1: on v2 there is a memory.oom.group")
	}
	n := node(t, patient)
	sandbox := pod(t, n)
	for id, name := range map[string]string{"wide": groupAnnotation, "alone": groupAnnotation + ".alone"} {
		b := n.NewBundle(id, shimtest.Sandbox("pod"), shimtest.Args("hog"), small, named(id), shimtest.Annotation(name, "false"))
		_, err := sandbox.Shim.Task().Create(deadline(t), b.CreateRequest())
		require.ErrorIs(t, errgrpc.ToNative(err), errdefs.ErrFailedPrecondition)
		for _, text := range []string{`"oomwitness.io/oom-group"`, "cgroup v2", "cgroup v1", hierarchy(), "memory.oom.group"} {
			require.ErrorContains(t, err, text)
		}
		require.Empty(t, topics(n.Events.Attempts(), id))
		require.NoDirExists(t, cgroupOf(n, id))

		forget(t, b, name)
		c := createIn(t, sandbox.Shim, b)
		start(t, c)
		get(t, watchWait(deadline(t), c), statusKilled)
		_, err = c.Delete(deadline(t))
		require.NoError(t, err)
		event(t, n, deleteTopic, id)
		wantEvents(t, n, c, full...)
	}
	endPod(t, sandbox)
}
