//go:build linux

package fire

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

type change = func(*specs.Spec)

// pod starts a shim with a sleeping container, which other containers join.
func pod(t *testing.T, n *shimtest.Node) *shimtest.Box {
	t.Helper()
	return n.Run("pod", shimtest.Sandbox("pod"))
}

// endPod stops the sleeping container and ends the shim.
func endPod(t *testing.T, c *shimtest.Box) {
	t.Helper()
	ctx := deadline(t)
	require.NoError(t, c.Kill(ctx, 9))
	_, err := c.Wait(ctx)
	require.NoError(t, err)
	end(t, c)
}

// TestOthersPass holds the TaskOOM of one container. Another container of the same pod starts,
// execs, exits, is OOM-killed and deleted meanwhile.
func TestOthersPass(t *testing.T) {
	ctx := deadline(t)
	n := node(t, patient)
	sandbox := pod(t, n)
	release := n.Events.Hold(shimtest.All(isOOM, shimtest.Container("held")))
	held := n.RunIn(sandbox.Shim, "held", shimtest.Args("hog"), small)
	wait := watchWait(ctx, held)
	_, err := n.Events.WaitAttempt(ctx, shimtest.All(isOOM, shimtest.Container("held")))
	require.NoError(t, err)

	plain := n.RunIn(sandbox.Shim, "plain", shimtest.Args("trap-term", "5"))
	require.NoError(t, plain.Stdio.WaitOutput(ctx, "ready"))
	require.NoError(t, startExec(ctx, plain.Shim.Task(), plain.ID, "e", "exit", "4"))
	status, err := endExec(ctx, plain.Shim.Task(), plain.ID, "e")
	require.NoError(t, err)
	require.EqualValues(t, 4, status)
	require.NoError(t, plain.Kill(ctx, 15))
	get(t, watchWait(ctx, plain), 5)
	_, err = plain.Delete(ctx)
	require.NoError(t, err)

	killed := n.RunIn(sandbox.Shim, "killed", shimtest.Args("hog"), small)
	get(t, watchWait(ctx, killed), statusKilled)
	_, err = killed.Delete(ctx)
	require.NoError(t, err)
	for _, id := range []string{"plain", "killed"} {
		event(t, n, deleteTopic, id)
	}
	unseen(t, wait)
	require.NotContains(t, topics(n.Events.All(), "held"), oomTopic)
	require.NotContains(t, topics(n.Events.Attempts(), "held"), exitTopic)
	wantEvents(t, n, killed, full...)
	require.Equal(t, []string{
		createTopic, startTopic, "/tasks/exec-added", "/tasks/exec-started", exitTopic, exitTopic, deleteTopic,
	}, topics(n.Events.All(), "plain"))

	release()
	get(t, wait, statusKilled)
	_, err = held.Delete(ctx)
	require.NoError(t, err)
	endPod(t, sandbox)
	wantEvents(t, n, held, full...)
	onlyOurs(t, n, "pod", "held", "plain", "killed")
}

// TestExecPasses holds init's TaskOOM. The exit of an exec that died with init shows at once by
// every API path of the exec.
func TestExecPasses(t *testing.T) {
	ctx := deadline(t)
	n := node(t, patient)
	release := n.Events.Hold(isOOM)
	c := n.Run("both", shimtest.Args("hog", "16"))
	require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
	adj := fmt.Sprintf("/proc/%d/oom_score_adj", c.Pid)
	require.NoError(t, os.WriteFile(adj, []byte("1000"), 0o644)) // the OOM killer must choose init, not the exec
	api := c.Shim.Task()
	require.NoError(t, startExec(ctx, api, c.ID, "e", "hog"))
	wait := watchWait(ctx, c)

	exit, err := api.Wait(ctx, &task.WaitRequest{ID: c.ID, ExecID: "e"})
	require.NoError(t, err)
	require.EqualValues(t, statusKilled, exit.ExitStatus)
	state, err := api.State(ctx, &task.StateRequest{ID: c.ID, ExecID: "e"})
	require.NoError(t, err)
	require.Equal(t, tasktypes.Status_STOPPED, state.Status)
	_, err = api.Delete(ctx, &task.DeleteRequest{ID: c.ID, ExecID: "e"})
	require.NoError(t, err)
	_, err = n.Events.WaitAttempt(ctx, isOOM)
	require.NoError(t, err)
	unseen(t, wait)

	release()
	get(t, wait, statusKilled)
	end(t, c)
	var order []string
	for _, e := range n.Events.Select(shimtest.Container(c.ID)) {
		if exit, ok := e.Message.(interface{ GetID() string }); ok && e.Topic == exitTopic {
			order = append(order, exitTopic+" "+exit.GetID())
		} else if e.Topic == oomTopic {
			order = append(order, oomTopic)
		}
	}
	require.Contains(t, [][]string{
		{oomTopic, exitTopic + " e", exitTopic + " both"},
		{exitTopic + " e", oomTopic, exitTopic + " both"},
	}, order)
}

// TestDeletedAtOnce calls Delete right after Wait, and ends the shim right after Delete. The
// stock shim loses about one TaskExit in seven in this way.
func TestDeletedAtOnce(t *testing.T) {
	n := node(t, "")
	for i := range counts.FromEnv(t, "DELETE_RUNS", 30) {
		ctx := deadline(t)
		args, status, want := shimtest.Args("exit", "0"), uint32(0), []string{createTopic, startTopic, exitTopic, deleteTopic}
		if i%3 == 2 {
			args, status, want = shimtest.Args("hog"), statusKilled, full
		}
		c := n.Run("quick-"+strconv.Itoa(i), args, small)
		exit, err := c.Wait(ctx)
		require.NoError(t, err)
		require.Equal(t, status, exit.ExitStatus)
		end(t, c)
		wantEvents(t, n, c, want...)
	}
}

// TestDeleteInTheMoment has many clients call Delete without a pause, so that some calls come
// in the moment of the exit. Delete is an API path like the others: a call that succeeds comes
// after the TaskOOM and the TaskExit.
func TestDeleteInTheMoment(t *testing.T) {
	n := node(t, patient)
	sandbox := pod(t, n)
	n.Events.Delay(isOOM, 20*poll)
	for i := range counts.FromEnv(t, "DELETE_RUNS", 30) {
		id := "moment-" + strconv.Itoa(i)
		b := n.NewBundle(id, shimtest.Sandbox("pod"), shimtest.Args("hog"), small)
		c := createIn(t, sandbox.Shim, b)
		start(t, c)
		seen := get(t, deleteByMany(deadline(t), c, 4), statusKilled)
		oom, exit := event(t, n, oomTopic, id), event(t, n, exitTopic, id)
		require.True(t, seen.at.After(oom.Accepted), "%s: deleted %v before TaskOOM was taken; order %v", id, oom.Accepted.Sub(seen.at), topics(n.Events.All(), id))
		require.True(t, seen.at.After(exit.Accepted), "%s: deleted %v before TaskExit was taken", id, exit.Accepted.Sub(seen.at))
		event(t, n, deleteTopic, id)
		wantEvents(t, n, c, full...)
	}
	endPod(t, sandbox)
}

// deleteByMany has clients call Delete until one call succeeds, and sends the time of that.
func deleteByMany(ctx context.Context, c *shimtest.Box, clients int) <-chan sight {
	ctx, cancel := context.WithCancel(ctx)
	seen := make(chan sight, clients)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				if answer, err := c.Delete(ctx); err == nil {
					seen <- sight{at: time.Now(), status: answer.ExitStatus}
					cancel()
				}
			}
		})
	}
	first := make(chan sight, 1)
	go func() {
		all.Wait()
		cancel()
		close(seen)
		if s, ok := <-seen; ok {
			first <- s
			return
		}
		first <- sight{err: ctx.Err()}
	}()
	return first
}
