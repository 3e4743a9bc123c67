//go:build linux

package fire

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// die takes containerd away: its endpoint, and its connection to the shim.
func die(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
	t.Helper()
	n.Events.StopListening()
	require.NoError(t, c.Shim.Disconnect())
}

// back starts another containerd instance, which connects to the shim and calls Connect and
// Pids. It returns the number of events that were accepted before.
func back(t *testing.T, n *shimtest.Node, c *shimtest.Box) (before int) {
	t.Helper()
	ctx := deadline(t)
	before = len(n.Events.All())
	require.NoError(t, n.Events.Resume())
	require.NoError(t, c.Shim.Reconnect(ctx))
	answer, err := c.Shim.Task().Connect(ctx, &task.ConnectRequest{ID: c.ID})
	require.NoError(t, err)
	require.Equal(t, c.Pid, int(answer.TaskPid))
	pids, err := c.Shim.Task().Pids(ctx, &task.PidsRequest{ID: c.ID})
	require.NoError(t, err)
	require.NotEmpty(t, pids.Processes, "containerd would throw the shim away")
	return before
}

// recovers does what CRI does in its recovery, and compares the TaskOOMs: one after CRI's first
// question and before CRI saw the exit, and at most one more.
func recovers(t *testing.T, n *shimtest.Node, c *shimtest.Box, before int) {
	t.Helper()
	recoversAs(t, n, c, before, statusKilled)
}

func recoversAs(t *testing.T, n *shimtest.Node, c *shimtest.Box, before int, want uint32) {
	t.Helper()
	asked := time.Now()
	seen := get(t, watch(func() (uint32, error) { return stopped(deadline(t), c) }), want)
	status, err := deleted(deadline(t), c)
	require.NoError(t, err)
	require.Equal(t, want, status)
	shutdown(t, c)

	var late, early []*shimtest.Event
	for _, e := range n.Events.All()[before:] {
		switch {
		case e.Topic != oomTopic:
		case e.Received.After(asked):
			late = append(late, e)
		default:
			early = append(early, e)
		}
	}
	// A TaskOOM that was under way at the moment of the first question may not have been
	// delivered: it counts as late.
	require.NotEmpty(t, late, "of %v", topics(n.Events.All(), c.ID))
	require.LessOrEqual(t, len(early)+len(late), 2, "of %v", topics(n.Events.All(), c.ID))
	require.True(t, seen.at.After(late[len(late)-1].Accepted), "the exit was seen before the TaskOOM was taken")
	all := topics(n.Events.All(), c.ID)
	require.Less(t, slices.Index(all, oomTopic), slices.Index(all, exitTopic), "%v", all)
	require.Equal(t, deleteTopic, all[len(all)-1])
}

// ofCRI marks a container as a container of CRI, which CRI waits for and recovers.
var ofCRI = shimtest.Annotation("io.kubernetes.cri.container-type", "container")

// TestContainerdRestarts has containerd go away, and another instance come, at fixed moments of
// an OOM.
func TestContainerdRestarts(t *testing.T) {
	for name, run := range map[string]func(t *testing.T, n *shimtest.Node, c *shimtest.Box){
		"before the kill": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			die(t, n, c)
			killInit(t, n, c)
			require.NoError(t, c.Shim.WaitLog(deadline(t), "containerd did not ack an event"))
			recovers(t, n, c, back(t, n, c))
		},
		"before the kill, back before it": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			die(t, n, c)
			before := back(t, n, c)
			killInit(t, n, c)
			recovers(t, n, c, before)
		},
		"TaskOOM taken before anyone asks": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			die(t, n, c)
			killInit(t, n, c)
			require.NoError(t, c.Shim.WaitLog(deadline(t), "containerd did not ack an event"))
			before := back(t, n, c)
			event(t, n, oomTopic, c.ID)
			recovers(t, n, c, before)
		},
		"while TaskOOM is unanswered": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			release := n.Events.Hold(isOOM)
			killInit(t, n, c)
			_, err := n.Events.WaitAttempt(deadline(t), isOOM)
			require.NoError(t, err)
			die(t, n, c)
			release()
			recovers(t, n, c, back(t, n, c))
		},
		"after the ack": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			wait := watchWait(deadline(t), c)
			killInit(t, n, c)
			get(t, wait, statusKilled)
			event(t, n, exitTopic, c.ID)
			die(t, n, c)
			recovers(t, n, c, back(t, n, c))
		},
		"twice": func(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
			killInit(t, n, c)
			event(t, n, exitTopic, c.ID)
			die(t, n, c)
			back(t, n, c)
			_, err := stopped(deadline(t), c)
			require.NoError(t, err)
			die(t, n, c)
			recovers(t, n, c, back(t, n, c))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := node(t, "")
			c := n.Run("c", shimtest.Args("hog", "16"), ofCRI)
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
			run(t, n, c)
		})
	}
}

// faultSeed returns the seed of the random moments.
func faultSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1e9
	if text := os.Getenv("FAULT_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "FAULT_SEED")
	}
	t.Logf("FAULT_SEED=%d", seed)
	return seed
}

// TestContainerdRestartsAtRandom does the same at random moments. FAULT_RUNS is the number of
// runs, FAULT_SEED repeats a run.
func TestContainerdRestartsAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(faultSeed(t), 0))
	for i := range counts.FromEnv(t, "FAULT_RUNS", 3) {
		away := time.Duration(rng.Int64N(int64(150 * time.Millisecond)))
		down := time.Duration(rng.Int64N(int64(300 * time.Millisecond)))
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Logf("away after %v, for %v", away, down)
			n := node(t, "")
			b := n.NewBundle("c", shimtest.Args("hog"), small)
			s, err := n.StartShim(deadline(t), b)
			require.NoError(t, err)
			c := createIn(t, s, b)
			start(t, c)
			<-time.After(away)
			die(t, n, c)
			<-time.After(down)
			recovers(t, n, c, back(t, n, c))
		})
	}
}

// TestExitWithoutContainerd has a task end while there is no containerd. The next containerd
// gets the true answer to each question, and no TaskOOM.
func TestExitWithoutContainerd(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "")
	c := n.Run("c", shimtest.Args("trap-term", "3"))
	require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
	die(t, n, c)
	kill(t, c, unix.SIGTERM)
	require.NoError(t, c.Shim.WaitLog(ctx, "msg=verdict"))
	back(t, n, c)
	pids, err := c.Shim.Task().Pids(ctx, &task.PidsRequest{ID: c.ID})
	require.NoError(t, err)
	require.Len(t, pids.Processes, 1)
	require.Equal(t, c.Pid, int(pids.Processes[0].Pid))
	var state *task.StateResponse
	require.Eventually(t, func() bool { // upstream notes an exit a little later than our shim
		state, err = c.State(ctx)
		return err != nil || state.Status == tasktypes.Status_STOPPED
	}, shimtest.Patience, time.Millisecond)
	require.NoError(t, err)
	require.EqualValues(t, 3, state.ExitStatus)
	exit, err := c.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 3, exit.ExitStatus)
	require.Equal(t, state.ExitedAt.AsTime(), exit.ExitedAt.AsTime())
	require.Zero(t, stats(t, c).kills)
	gone, err := c.Delete(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 3, gone.ExitStatus)
	require.Equal(t, c.Pid, int(gone.Pid))
	require.Equal(t, state.ExitedAt.AsTime(), gone.ExitedAt.AsTime())
	shutdown(t, c)
	// The ack of TaskStart may have been lost with the old containerd.
	require.Equal(t, quiet, slices.Compact(topics(n.Events.All(), c.ID)))
}

// TestAnsweredLate has the endpoint answer TaskOOM after 20 s. The exit shows after the hold
// timeout, the TaskExit comes after the answer, and nothing is sent twice.
func TestAnsweredLate(t *testing.T) {
	const late, bound = 20 * time.Second, 5 * time.Second
	ctx := deadline(t)
	n := node(t, "")
	n.Events.Delay(isOOM, late)
	c := n.Run("late", shimtest.Args("hog"), small)
	exit, err := c.Wait(ctx)
	require.NoError(t, err)
	require.EqualValues(t, statusKilled, exit.ExitStatus)
	waited := time.Since(exit.ExitedAt.AsTime())
	require.Greater(t, waited, bound*3/4)
	require.Less(t, waited, late*3/4)
	require.NotContains(t, topics(n.Events.Attempts(), c.ID), exitTopic)
	event(t, n, exitTopic, c.ID)
	end(t, c)
	wantEvents(t, n, c, full...)
	require.Equal(t, full, topics(n.Events.Attempts(), c.ID), "each was sent once")
}

// TestBadBundle has the bundle full, or read-only, once the container runs. The OOM is reported
// all the same. If the shim dies, the delete command reports it from the record that was made
// at Create.
func TestBadBundle(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, b *shimtest.Bundle){
		"full": func(t *testing.T, _ string, b *shimtest.Bundle) {
			fill(t, b.File("filler"), 4096)
			fill(t, b.File("oomwitness.json"), 1) // fills the rest of the file's last page
		},
		"read-only": func(t *testing.T, dir string, _ *shimtest.Bundle) {
			require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		},
	} {
		for _, dies := range []bool{false, true} {
			t.Run(name+"/shim dies "+strconv.FormatBool(dies), func(t *testing.T) {
				n := node(t, "")
				dir := n.Dir + "/state"
				require.NoError(t, os.Mkdir(dir, 0o711))
				require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"))
				t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
				c := n.Run("c", shimtest.Args("hog", "16"))
				require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
				spoil(t, dir, c.Bundle)
				badExit(t, n, c, dies)
			})
		}
	}
}

func badExit(t *testing.T, n *shimtest.Node, c *shimtest.Box, dies bool) {
	t.Helper()
	ctx := deadline(t)
	release := n.Events.Hold(isOOM)
	wait := watchWait(ctx, c)
	killInit(t, n, c)
	_, err := n.Events.WaitAttempt(ctx, isOOM)
	require.NoError(t, err)
	require.NoError(t, c.Shim.WaitLog(ctx, "record not written"))
	if !dies {
		release()
		get(t, wait, statusKilled)
		// runc itself deletes nothing from a read-only bundle.
		require.NoError(t, unix.Mount("", n.Dir+"/state", "", unix.MS_REMOUNT, ""))
		end(t, c)
		wantEvents(t, n, c, full...)
		return
	}
	require.NoError(t, c.Shim.KillMidCall(ctx))
	release()
	got := remove(t, n, c.Bundle)
	require.EqualValues(t, statusKilled, got.ExitStatus)
	require.Equal(t, 1, got.ooms, "%s", got.stderr)
}
