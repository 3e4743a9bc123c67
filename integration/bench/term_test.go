//go:build linux

package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// pods starts a pod of each side; the samples come from containers in the pods.
func pods(t *testing.T, n *shimtest.Node, what string) map[string]*shimtest.Box {
	t.Helper()
	all := map[string]*shimtest.Box{}
	for _, s := range sides(t) {
		n.SetShim(s.path)
		id := name(s, what, 0)
		all[s.name] = n.Run(id, shimtest.Sandbox(id))
	}
	return all
}

// endResting ends the init of a resting container by SIGTERM, and returns the time until the
// pending Wait is answered.
func endResting(t *testing.T, c *shimtest.Box) (took time.Duration) {
	t.Helper()
	ctx := deadline(t)
	require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
	answered := make(chan time.Time, 1)
	go func() {
		if _, err := c.Wait(ctx); err == nil {
			answered <- time.Now()
		}
		close(answered)
	}()
	// When State is answered, the shim has taken the Wait that was sent before it.
	_, err := c.State(ctx)
	require.NoError(t, err)
	sent := time.Now()
	require.NoError(t, unix.Kill(c.Pid, unix.SIGTERM))
	at, ok := <-answered
	require.True(t, ok, "Wait of %s failed", c.ID)
	_, err = c.Delete(ctx)
	require.NoError(t, err)
	require.NoError(t, c.Remove())
	return at.Sub(sent)
}

// TestTerm measures the time from a SIGTERM to the answer to Wait, for the init of a resting
// container and for an exec'd process. BENCH_TERMS is the number of each side.
func TestTerm(t *testing.T) {
	n := node(t)
	all := pods(t, n, "term-pod")
	exit := samples{}
	for i := range counts.FromEnv(t, "BENCH_TERMS", 300) {
		for _, s := range sides(t) {
			c := n.RunIn(all[s.name].Shim, name(s, "term", i), shimtest.Args("trap-term", "3"))
			exit.took(s, endResting(t, c))
		}
	}
	report(t, "term-to-exit-seen", "ms", 1.10, exit)
	reportPercentile(t, "term-to-exit-seen-p90", "ms", 1.10, 90, exit)
	for _, c := range all {
		stop(t, c)
	}
}

// TestExitCalls counts the system calls of the shim from the reap of init to the answer to
// Wait. The number does not depend on the machine's load. BENCH_TRACES is the number of exits
// of each side.
func TestExitCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	n := node(t)
	all := pods(t, n, "trace-pod")
	calls := samples{}
	for i := range counts.FromEnv(t, "BENCH_TRACES", 20) {
		for _, s := range sides(t) {
			c := n.RunIn(all[s.name].Shim, name(s, "trace", i), shimtest.Args("trap-term", "3"))
			require.NoError(t, c.Stdio.WaitOutput(deadline(t), "ready"))
			text := traced(t, strace, c.Shim.Pid(), func() { endResting(t, c) })
			if n, ok := exitCalls(text, c.Pid); ok {
				calls.add(s, float64(n))
			}
		}
	}
	report(t, "calls-reap-to-wait", "calls", 0, calls)
	for _, c := range all {
		stop(t, c)
	}
}

// traced returns what strace prints about a process while f runs.
func traced(t *testing.T, strace string, pid int, f func()) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "strace")
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-s", "4096", "-o", name, "-p", strconv.Itoa(pid))
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	attached := bufio.NewScanner(stderr)
	require.True(t, attached.Scan(), "strace ended before it was attached")
	go func() {
		for attached.Scan() { // strace prints a message at each new thread
			continue
		}
	}()
	f()
	require.NoError(t, cmd.Process.Signal(unix.SIGINT))
	_ = cmd.Wait() // strace ends by the signal
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// exitCalls counts the calls between the first that shows init's end and the one that writes
// the answer to Wait. ok is false if one of these two is not in the trace.
func exitCalls(trace string, pid int) (n int, ok bool) {
	ended := false
	for line := range strings.Lines(trace) {
		switch {
		case !ended:
			ended = strings.Contains(line, "wait4") && strings.HasSuffix(strings.TrimSpace(line), "= "+strconv.Itoa(pid)) ||
				strings.Contains(line, "waitid") && strings.Contains(line, fmt.Sprintf("si_pid=%d,", pid))
		case strings.Contains(line, "resumed>"), strings.Contains(line, "---"), strings.Contains(line, "nanosleep("):
			// Not counted: the second half of a call, a signal, the clock of Go's runtime.
		case strings.Contains(line, "write(") && strings.Contains(line, waitAnswer):
			return n, true
		default:
			n++
		}
	}
	return 0, false
}

// waitAnswer is a part of the answer to Wait as strace prints it: field 1, the exit status, is
// 3, and field 2, the time, follows.
const waitAnswer = `\10\3\22`
