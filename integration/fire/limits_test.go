//go:build linux

package fire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

const execs = 300

// TestTooManyEvents has execs come and go while the endpoint is absent, until more events wait
// than the queue keeps. TaskOOM and init's TaskExit are never dropped.
func TestTooManyEvents(t *testing.T) {
	ctx := deadline(t)
	n := node(t, "hold_timeout = '1s'\n")
	b := n.NewBundle("crowded", shimtest.Args("hog", "16"))
	s, err := n.StartShim(ctx, b)
	require.NoError(t, err)
	n.Events.StopListening()
	c := createIn(t, s, b)
	start(t, c)
	crowd(t, c)
	require.NoError(t, c.Shim.WaitLog(ctx, "too many events wait for containerd"))
	adj := fmt.Sprintf("/proc/%d/oom_score_adj", c.Pid)
	require.NoError(t, os.WriteFile(adj, []byte("1000"), 0o644))
	require.NoError(t, startExec(ctx, c.Shim.Task(), c.ID, "hog", "hog"))
	get(t, watchWait(ctx, c), statusKilled)

	require.NoError(t, n.Events.Resume())
	end(t, c)
	last := lastOfInit(t, n, c)
	require.Equal(t, []string{oomTopic, exitTopic, deleteTopic}, last)
	dropped := logLines(c.Shim.Logs(), "too many events wait for containerd", "container=crowded", "topic=/tasks/exec-added")
	require.NotEmpty(t, dropped)
	all := logLines(c.Shim.Logs(), "too many events wait for containerd")
	require.Contains(t, all[len(all)-1], fmt.Sprintf("total=%d", len(all)), "each that was dropped is in the log")
	for _, line := range all {
		require.NotContains(t, line, "topic=/tasks/oom")
	}
	require.Len(t, n.Events.All(), 2+3*execs+3+3-len(all), "sent or dropped, nothing else")
}

// crowd runs many execs, some of them at the same time.
func crowd(t *testing.T, c *shimtest.Box) {
	t.Helper()
	const workers = 3
	ctx := deadline(t)
	errs := make([]error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < execs && errs[w] == nil; i += workers {
				errs[w] = comeAndGo(ctx, c, "e"+strconv.Itoa(i))
			}
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
}

func comeAndGo(ctx context.Context, c *shimtest.Box, id string) error {
	if err := startExec(ctx, c.Shim.Task(), c.ID, id, "exit", "0"); err != nil {
		return err
	}
	_, err := endExec(ctx, c.Shim.Task(), c.ID, id)
	return err
}

// lastOfInit returns the topics of init's last events, in their order.
func lastOfInit(t *testing.T, n *shimtest.Node, c *shimtest.Box) []string {
	t.Helper()
	var last []string
	for _, e := range n.Events.Select(shimtest.Container(c.ID)) {
		exit, ok := e.Message.(*eventsapi.TaskExit)
		if e.Topic == oomTopic || e.Topic == deleteTopic || (ok && exit.ID == c.ID) {
			last = append(last, e.Topic)
		}
	}
	return last
}

// fill appends to a file until the disk is full.
func fill(t *testing.T, name string, at int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(bytes.Repeat([]byte(" "), at))
	}
	require.ErrorIs(t, err, unix.ENOSPC)
}
