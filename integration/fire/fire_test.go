//go:build linux

// Package fire tests the real shim under trouble: an events endpoint that holds, refuses,
// delays or loses events or is absent, bad input, a kernel whose counters cannot be read, and a
// thousand containers.
package fire

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/integration/workload"
)

const (
	createTopic = "/tasks/create"
	startTopic  = "/tasks/start"
	oomTopic    = "/tasks/oom"
	exitTopic   = "/tasks/exit"
	deleteTopic = "/tasks/delete"

	reportAnnotation = "oomwitness.io/report"
	groupAnnotation  = "oomwitness.io/oom-group"
	codeAnnotation   = "oomwitness.io/oom-exit-code"
	nameAnnotation   = "io.kubernetes.cri.container-name"

	// killed is the shim's log line for a kill that init survives.
	killed = "the OOM killer ended a process of the container"

	statusKilled = 137
	// poll is the pause between two questions to another process.
	poll = 2 * time.Millisecond
)

// small is a limit that a hog reaches soon, and in which runc's own init fits.
var small = shimtest.MemoryLimit(32 << 20)

var (
	isOOM  = shimtest.Topic(oomTopic)
	isExit = shimtest.Topic(exitTopic)
)

func TestMain(m *testing.M) {
	if err := hideMemory(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// node starts a node with the given configuration for its shims.
func node(t *testing.T, config string, change ...func(*shimtest.Config)) *shimtest.Node {
	t.Helper()
	cfg := shimtest.Config{Env: []string{configEnv(writeConfig(t, config))}}
	for _, c := range change {
		c(&cfg)
	}
	return shimtest.Start(t, cfg)
}

func configEnv(path string) string { return "OOMWITNESS_CONFIG=" + path }

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// deadline returns a context for a test that takes seconds, on a node that is not slow.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*shimtest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// sight is the time and the status at which an exit was seen by one API path.
type sight struct {
	at     time.Time
	status uint32
	err    error
}

// watch calls path until it shows the exit, and sends the sight.
func watch(path func() (uint32, error)) <-chan sight {
	seen := make(chan sight, 1)
	go func() {
		status, err := path()
		seen <- sight{at: time.Now(), status: status, err: err}
	}()
	return seen
}

func watchWait(ctx context.Context, c *shimtest.Box) <-chan sight {
	return watch(func() (uint32, error) {
		exit, err := c.Wait(ctx)
		return exit.GetExitStatus(), err
	})
}

func get(t *testing.T, seen <-chan sight, status uint32) sight {
	t.Helper()
	s := <-seen
	require.NoError(t, s.err)
	require.Equal(t, status, s.status)
	return s
}

func unseen(t *testing.T, seen <-chan sight) {
	t.Helper()
	select {
	case s := <-seen:
		require.Fail(t, "the exit was seen too early", "%+v", s)
	default:
	}
}

func event(t *testing.T, n *shimtest.Node, topic, id string) *shimtest.Event {
	t.Helper()
	e, err := n.Events.Wait(deadline(t), shimtest.All(shimtest.Topic(topic), shimtest.Container(id)))
	require.NoError(t, err)
	return e
}

// topics returns the topics of a container's events in their order, with one exception:
// TaskStart stands before TaskOOM even if it came after. Upstream publishes TaskStart when runc
// has returned, and the kernel may be faster.
func topics(events []*shimtest.Event, id string) []string {
	var all []string
	for _, e := range events {
		if e.ContainerID == id {
			all = append(all, e.Topic)
		}
	}
	start, oom := slices.Index(all, startTopic), slices.Index(all, oomTopic)
	if oom >= 0 && oom < start {
		all = slices.Insert(slices.Delete(all, start, start+1), oom, startTopic)
	}
	return all
}

// wantEvents compares all events of a container that containerd has acked: their order, and the
// IDs in them.
func wantEvents(t *testing.T, n *shimtest.Node, c *shimtest.Box, want ...string) {
	t.Helper()
	require.Equal(t, want, topics(n.Events.All(), c.ID))
	for _, e := range n.Events.Select(shimtest.Container(c.ID)) {
		require.Equal(t, n.Namespace(), e.Envelope.GetNamespace(), "namespace of %s", e)
		require.NotZero(t, e.Envelope.GetTimestamp().AsTime().Unix(), "time of %s", e)
		switch m := e.Message.(type) {
		case *eventsapi.TaskOOM:
			require.Equal(t, c.ID, m.ContainerID)
		case *eventsapi.TaskExit:
			require.Equal(t, m.ID == c.ID, int(m.Pid) == c.Pid, "ID %s and pid %d of %s", m.ID, m.Pid, e)
		case *eventsapi.TaskDelete:
			require.Equal(t, c.Pid, int(m.Pid), "pid of %s", e)
		}
	}
}

// onlyOurs wants that every event names one of these containers.
func onlyOurs(t *testing.T, n *shimtest.Node, ids ...string) {
	t.Helper()
	for _, e := range n.Events.Attempts() {
		require.Contains(t, ids, e.ContainerID, "event %d: %s", e.Seq, e)
	}
}

// end deletes a container and ends its shim: after that no event can come.
func end(t *testing.T, c *shimtest.Box) {
	t.Helper()
	ctx := deadline(t)
	_, err := c.Delete(ctx)
	require.NoError(t, err)
	shutdown(t, c)
}

func shutdown(t *testing.T, c *shimtest.Box) {
	t.Helper()
	ctx := deadline(t)
	if err := c.Shutdown(ctx); err != nil {
		require.ErrorIs(t, err, ttrpc.ErrClosed) // the answer of a shim that has ended
	}
	require.NoError(t, c.Shim.WaitExit(ctx))
}

// startExec runs the workload as a further process of a container.
func startExec(ctx context.Context, api task.TTRPCTaskService, id, exec string, args ...string) error {
	spec, err := json.Marshal(&specs.Process{Args: append([]string{workload.Path}, args...), Cwd: "/"})
	if err != nil {
		return err
	}
	_, err = api.Exec(ctx, &task.ExecProcessRequest{ID: id, ExecID: exec, Spec: &anypb.Any{Value: spec}})
	if err != nil {
		return fmt.Errorf("exec %s: %w", exec, err)
	}
	if _, err := api.Start(ctx, &task.StartRequest{ID: id, ExecID: exec}); err != nil {
		return fmt.Errorf("start exec %s: %w", exec, err)
	}
	return nil
}

// endExec waits for an exec and deletes it.
func endExec(ctx context.Context, api task.TTRPCTaskService, id, exec string) (uint32, error) {
	exit, err := api.Wait(ctx, &task.WaitRequest{ID: id, ExecID: exec})
	if err != nil {
		return 0, fmt.Errorf("wait for exec %s: %w", exec, err)
	}
	if _, err := api.Delete(ctx, &task.DeleteRequest{ID: id, ExecID: exec}); err != nil {
		return 0, fmt.Errorf("delete exec %s: %w", exec, err)
	}
	return exit.ExitStatus, nil
}

// logLines returns the lines of a shim's log that have all of the texts.
func logLines(log string, texts ...string) []string {
	return slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
}

// waitKills waits until the shim has logged that number of kills that a container's init has
// survived.
func waitKills(t *testing.T, s *shimtest.Shim, id string, kills int) {
	t.Helper()
	ctx := deadline(t)
	for len(logLines(s.Logs(), killed, "container="+id+" ", fmt.Sprintf("kills=%d", kills))) == 0 {
		require.NoError(t, pause(ctx), "no kill noted of %s", id)
	}
}

// kill sends a signal for which containerd did not ask.
func kill(t *testing.T, c *shimtest.Box, signal unix.Signal) {
	t.Helper()
	require.NoError(t, unix.Kill(c.Pid, signal))
}
