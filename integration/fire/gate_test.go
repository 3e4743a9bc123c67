//go:build linux

package fire

import (
	"context"
	"testing"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// patient is a hold timeout longer than any test: an exit that shows was released for another
// reason.
const patient = "hold_timeout = '5m'\n"

// full are the events of a container that is OOM-killed, from end to end.
var full = []string{createTopic, startTopic, oomTopic, exitTopic, deleteTopic}

// TestNeverAnswered leaves TaskOOM unanswered. The exit shows when the hold timeout has passed,
// and no TaskExit comes before the TaskOOM is acked.
func TestNeverAnswered(t *testing.T) {
	const bound = 2 * time.Second
	ctx := deadline(t)
	n := node(t, "hold_timeout = '2s'\n")
	release := n.Events.Hold(isOOM)
	c := n.Run("held", shimtest.Args("hog"), small)
	exit, err := c.Wait(ctx)
	require.NoError(t, err)
	seen := time.Now()
	require.EqualValues(t, statusKilled, exit.ExitStatus)
	require.Greater(t, seen.Sub(exit.ExitedAt.AsTime()), bound*3/4, "the exit was released before the hold timeout")
	require.NoError(t, c.Shim.WaitLog(ctx, "the hold timeout has passed, the exit is released"))

	state, err := c.State(ctx)
	require.NoError(t, err)
	require.Equal(t, tasktypes.Status_STOPPED, state.Status)
	deleted := time.Now()
	_, err = c.Delete(ctx)
	require.NoError(t, err)
	require.Greater(t, time.Since(deleted), bound*3/4, "Delete did not wait for the TaskExit")
	sent := topics(n.Events.Attempts(), c.ID)
	require.Contains(t, sent, oomTopic)
	require.NotContains(t, sent, exitTopic)
	require.NotContains(t, sent, deleteTopic)

	release()
	event(t, n, deleteTopic, c.ID)
	shutdown(t, c)
	wantEvents(t, n, c, full...)
	require.Equal(t, full, topics(n.Events.Attempts(), c.ID), "each was sent once")
	onlyOurs(t, n, c.ID)
}

// TestRefused has the endpoint answer with errors first, and then accept.
func TestRefused(t *testing.T) {
	ctx := deadline(t)
	n := node(t, patient)
	n.Events.Fail(isOOM, errdefs.ErrUnavailable, 5)
	n.Events.Fail(isExit, errdefs.ErrInternal, 3)
	n.Events.Fail(shimtest.Topic(deleteTopic), errdefs.ErrNotFound, 1)
	c := n.Run("refused", shimtest.Args("hog"), small)
	seen := get(t, watchWait(ctx, c), statusKilled)
	require.True(t, seen.at.After(event(t, n, oomTopic, c.ID).Accepted), "seen before the ack")
	end(t, c)
	wantEvents(t, n, c, full...)
	require.Equal(t, []string{
		createTopic, startTopic,
		oomTopic, oomTopic, oomTopic, oomTopic, oomTopic, oomTopic,
		exitTopic, exitTopic, exitTopic, exitTopic,
		deleteTopic, deleteTopic,
	}, topics(n.Events.Attempts(), c.ID))
	lines := logLines(c.Shim.Logs(), "containerd did not ack an event", "topic=/tasks/oom")
	require.Len(t, lines, 3, "of 5 that were refused, each counted")
	for i, try := range []string{"total=1 try=1", "total=2 try=2", "total=4 try=4"} {
		require.Contains(t, lines[i], try)
	}
}

// TestAbsent has no endpoint from before the container's creation on. The endpoint comes back
// while the exit is held, or after the hold timeout.
func TestAbsent(t *testing.T) {
	for name, test := range map[string]struct {
		config string
		late   bool
	}{
		"back within the hold timeout": {patient, false},
		"back after the hold timeout":  {"hold_timeout = '1s'\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, test.config)
			b := n.NewBundle("away", shimtest.Args("hog"), small)
			s, err := n.StartShim(ctx, b)
			require.NoError(t, err)
			n.Events.StopListening()
			c := createIn(t, s, b)
			start(t, c)
			wait := watchWait(ctx, c)
			require.NoError(t, c.Shim.WaitLog(ctx, "containerd did not ack an event"))
			if test.late {
				require.EqualValues(t, statusKilled, (<-wait).status)
				require.Empty(t, n.Events.Attempts())
				require.NoError(t, n.Events.Resume())
			} else {
				unseen(t, wait)
				require.NoError(t, n.Events.Resume())
				seen := get(t, wait, statusKilled)
				require.True(t, seen.at.After(event(t, n, oomTopic, c.ID).Accepted), "seen before the ack")
			}
			end(t, c)
			wantEvents(t, n, c, full...)
			require.Equal(t, full, topics(n.Events.Attempts(), c.ID), "each was sent once")
		})
	}
}

// TestClosed closes the connection in the middle of calls.
func TestClosed(t *testing.T) {
	drop := func(n *shimtest.Node) {
		n.Events.Drop(isOOM, 2)
		n.Events.Drop(isExit, 1)
	}
	for name, test := range map[string]struct {
		fault          func(*shimtest.Node)
		accepted, sent []string
	}{
		"not taken": {drop, full, []string{
			createTopic, startTopic, oomTopic, oomTopic, oomTopic, exitTopic, exitTopic, deleteTopic,
		}},
		// The shim cannot know that the first TaskOOM was accepted. A second TaskOOM does no
		// harm; a missing one does.
		"taken, the answer lost": {
			func(n *shimtest.Node) { n.Events.LoseAnswer(isOOM, 1) },
			[]string{createTopic, startTopic, oomTopic, oomTopic, exitTopic, deleteTopic},
			[]string{createTopic, startTopic, oomTopic, oomTopic, exitTopic, deleteTopic},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, patient)
			test.fault(n)
			c := n.Run("cut", shimtest.Args("hog"), small)
			seen := get(t, watchWait(ctx, c), statusKilled)
			require.True(t, seen.at.After(event(t, n, oomTopic, c.ID).Accepted), "seen before the ack")
			end(t, c)
			wantEvents(t, n, c, test.accepted...)
			require.Equal(t, test.sent, topics(n.Events.Attempts(), c.ID))
		})
	}
}

// TestClosedWhileHeld closes the connection on which a TaskOOM waits for its answer.
func TestClosedWhileHeld(t *testing.T) {
	ctx := deadline(t)
	n := node(t, patient)
	release := n.Events.Hold(isOOM)
	c := n.Run("cut", shimtest.Args("hog"), small)
	wait := watchWait(ctx, c)
	_, err := n.Events.WaitAttempt(ctx, isOOM)
	require.NoError(t, err)
	n.Events.CloseConnections()
	_, err = n.Events.WaitAttempts(ctx, isOOM, 2)
	require.NoError(t, err)
	unseen(t, wait)
	release()
	get(t, wait, statusKilled)
	end(t, c)
	wantEvents(t, n, c, full...)
}

// TestDelayed has the endpoint answer TaskOOM after half a second. No API path shows the exit
// before that answer.
func TestDelayed(t *testing.T) {
	const delay = 500 * time.Millisecond
	for name, path := range map[string]func(context.Context, *shimtest.Box) (uint32, error){
		"wait": func(ctx context.Context, c *shimtest.Box) (uint32, error) {
			exit, err := c.Wait(ctx)
			return exit.GetExitStatus(), err
		},
		"state": stopped,
		"delete": func(ctx context.Context, c *shimtest.Box) (uint32, error) {
			return deleted(ctx, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, patient)
			n.Events.Delay(isOOM, delay)
			c := n.Run("slow", shimtest.Args("hog"), small)
			seen := get(t, watch(func() (uint32, error) { return path(ctx, c) }), statusKilled)
			exit := event(t, n, exitTopic, c.ID)
			oom := event(t, n, oomTopic, c.ID)
			require.GreaterOrEqual(t, oom.Accepted.Sub(oom.Received), delay, "the harness did not delay")
			require.True(t, seen.at.After(oom.Accepted), "seen %v before the ack", oom.Accepted.Sub(seen.at))
			require.True(t, exit.Received.After(oom.Accepted), "TaskExit was sent before the ack")
			if name == "delete" {
				require.True(t, seen.at.After(exit.Accepted), "deleted before TaskExit was taken")
				shutdown(t, c)
			} else {
				end(t, c)
			}
			wantEvents(t, n, c, full...)
			require.Equal(t, full, topics(n.Events.Attempts(), c.ID), "each was sent once")
		})
	}
}

// stopped calls State until the state is STOPPED.
func stopped(ctx context.Context, c *shimtest.Box) (uint32, error) {
	for {
		state, err := c.State(ctx)
		if err != nil || state.Status == tasktypes.Status_STOPPED {
			return state.GetExitStatus(), err
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}

// deleted calls Delete until the call succeeds.
func deleted(ctx context.Context, c *shimtest.Box) (uint32, error) {
	for {
		answer, err := c.Delete(ctx)
		if err == nil {
			return answer.ExitStatus, nil
		}
		if err := pause(ctx); err != nil {
			return 0, err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(poll):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// createIn creates a container, and does not start it.
func createIn(t *testing.T, s *shimtest.Shim, b *shimtest.Bundle) *shimtest.Box {
	t.Helper()
	answer, err := s.Task().Create(deadline(t), b.CreateRequest())
	require.NoError(t, err)
	return &shimtest.Box{Bundle: b, Shim: s, Pid: int(answer.Pid)}
}

func start(t *testing.T, c *shimtest.Box) {
	t.Helper()
	_, err := c.Shim.Task().Start(deadline(t), &task.StartRequest{ID: c.ID})
	require.NoError(t, err)
}
