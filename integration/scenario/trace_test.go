//go:build linux

package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/mix"
)

// TestLoad loads, loads again and unloads.
func TestLoad(t *testing.T) {
	runner(t)
	output(t, oomwitness, "unload")
	t.Cleanup(func() { output(t, oomwitness, "load") })
	action := func() string {
		var l struct{ Action string }
		require.NoError(t, json.Unmarshal([]byte(output(t, oomwitness, "load", "-o", "json")), &l))
		return l.Action
	}
	require.Equal(t, "loaded", action())
	require.Equal(t, "unchanged", action())
	require.Contains(t, output(t, oomwitness, "load", "--tier", "C"), "replaced the ledger: tier C")
	require.Equal(t, "unchanged", action())
	require.Contains(t, output(t, oomwitness, "unload"), "removed the ledger")
	require.Contains(t, output(t, oomwitness, "unload"), "no ledger was loaded")
	_, err := exec.CommandContext(t.Context(), oomwitness, "trace", "--follow=false").Output()
	require.Error(t, err, "there is nothing to trace")
}

// live is an oomwitness trace that follows.
type live struct {
	cmd   *exec.Cmd
	lines chan string
}

func follow(t *testing.T, args ...string) *live {
	t.Helper()
	l := &live{cmd: exec.CommandContext(t.Context(), oomwitness, append([]string{"trace"}, args...)...), lines: make(chan string, 64)}
	out, err := l.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, l.cmd.Start())
	go func() {
		defer close(l.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			l.lines <- s.Text()
		}
	}()
	return l
}

// next returns the next line of a container.
func (l *live) next(ctx context.Context, id string) (string, error) {
	for {
		select {
		case line, ok := <-l.lines:
			if !ok {
				return "", fmt.Errorf("the trace ended before %s", id)
			}
			if strings.Contains(line, id) {
				return line, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("no line of %s: %w", id, ctx.Err())
		}
	}
}

// end ends it as Ctrl-C does.
func (l *live) end(t *testing.T) {
	t.Helper()
	require.NoError(t, l.cmd.Process.Signal(syscall.SIGINT))
	for range l.lines { // read to its end before Wait closes it
	}
	require.NoError(t, l.cmd.Wait())
}

// TestTrace follows real kills by containers' limits and pods', and looks at
// them again in every form.
func TestTrace(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	jsonTrace := follow(t, "-o", "json")
	victim := mix.Container{Args: []string{"child-oom-sleep"}, Limit: 24 * mix.MiB, Output: true}
	inPod := victim
	inPod.Limit = 0
	for cause, c := range map[string]mix.Case{
		"container": {Name: "traced-container", Container: victim},
		"pod":       {Name: "traced-pod", Container: inPod, PodLimit: 64 * mix.MiB, Sibling: &idle},
	} {
		c.Want.Status = 143
		c.Act = func(ctx context.Context, run *mix.Running) error {
			if err := mix.ChildDied(ctx, run); err != nil {
				return err
			}
			line, err := jsonTrace.next(ctx, run.Task.ID())
			if err != nil {
				return err
			}
			checkTraced(t, run.Task.ID(), cause, line)
			return run.Task.Kill(ctx, syscall.SIGTERM)
		}
		o, err := r.Run(t.Context(), mix.Ours, c, mix.ByWait)
		require.NoError(t, err)
		checkWhole(t, c, o)
	}
	jsonTrace.end(t)
	require.Len(t, traced(t), 2)
	require.Len(t, traced(t, "--since", "1h"), 2)
	require.Empty(t, traced(t, "--since", "1ns"))
	require.Len(t, traced(t, "--comm", "work*"), 2)
	require.Empty(t, traced(t, "--comm", "java"))
}

// checkTraced looks at a live line, and asks for the same in other ways while
// the container is there.
func checkTraced(t *testing.T, id, cause, line string) {
	t.Helper()
	var e event
	require.NoError(t, json.Unmarshal([]byte(line), &e), "%s", line)
	require.NotNil(t, e.Container, "%s", line)
	require.Equal(t, id, e.Container.ID)
	require.Empty(t, e.Container.Name, "labels name a container in CRI's namespace alone")
	require.Equal(t, "oomw", e.Container.Namespace)
	// The path alone says which pod it is.
	if cause == "pod" {
		require.NotNil(t, e.Pod, "%s", line)
		require.NotEmpty(t, e.Pod.UID)
		require.Empty(t, e.Pod.Name)
	} else {
		require.Nil(t, e.Pod, "%s", line)
	}
	require.EqualValues(t, cause, e.Cause)
	require.Equal(t, "workload", e.Victim.Comm)
	require.False(t, e.Victim.Init)

	out, err := exec.CommandContext(t.Context(), oomwitness, "trace").CombinedOutput()
	require.Error(t, err, "the ring has one reader")
	require.Contains(t, string(out), "--follow=false")

	past := traced(t, "--cause", cause, "--container", id[:len(id)-1])
	require.Len(t, past, 1)
	require.Equal(t, e, past[0])
	require.Empty(t, traced(t, "--cause", "node,ancestor", "--container", id))
	text := output(t, oomwitness, "trace", "--follow=false", "-o", "wide", "--container", id)
	require.Contains(t, text, id)
	require.Contains(t, text, cause)
}
