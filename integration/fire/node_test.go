//go:build linux

package fire

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestSpoiltCounters covers a container's counter file while the container runs. Its exit shows
// all the same, the log has the read error, and other containers keep their TaskOOM.
func TestSpoiltCounters(t *testing.T) {
	n := node(t, patient)
	sandbox := pod(t, n)
	for name, test := range map[string]struct{ text, says string }{
		"not-a-number": {"low 0\noom_kill many\n", "oom_kill"},
		"negative":     {"oom_kill -1\n", "oom_kill"},
		"overflow":     {"oom_kill 99999999999999999999\n", "out of range"},
		"no-oom-kill":  {"low 0\nhigh 0\n", "oom_kill"},
		"twice":        {"oom_kill 1\noom_kill 2\n", "twice"},
		"empty":        {"", "not a key and a number"},
		"too-large":    {strings.Repeat("oom_kill 1\n", 20_000), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			spoilt := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(spoilt, []byte(test.text), 0o644))
			spoiltExit(t, n, sandbox, name, spoilt, test.says)
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		spoiltExit(t, n, sandbox, "unreadable", fmt.Sprintf("/proc/%d/mem", os.Getpid()), "input/output error")
	})
	c := n.RunIn(sandbox.Shim, "beside", shimtest.Args("hog"), small)
	get(t, watchWait(deadline(t), c), statusKilled)
	_, err := c.Delete(deadline(t))
	require.NoError(t, err)
	event(t, n, deleteTopic, c.ID)
	wantEvents(t, n, c, full...)
	endPod(t, sandbox)
}

func spoiltExit(t *testing.T, n *shimtest.Node, sandbox *shimtest.Box, name, with, says string) {
	t.Helper()
	ctx := deadline(t)
	c := n.RunIn(sandbox.Shim, name, shimtest.Args("trap-term", "3"))
	require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
	cover(t, counterFile(n, name), with)
	kill(t, c, unix.SIGTERM)
	get(t, watchWait(ctx, c), 3)
	_, err := c.Delete(ctx)
	require.NoError(t, err)
	event(t, n, deleteTopic, name)
	wantEvents(t, n, c, quiet...)
	require.Len(t, logLines(sandbox.Shim.Logs(), "exit gate: evidence not read", "container="+name+" ",
		filepath.Base(counterFile(n, name)), says, "total="), 1)
}

// TestHangingCounters has the counters never answer. A request of containerd waits for the hold
// timeout at most, and other containers of the pod do not wait.
func TestHangingCounters(t *testing.T) {
	if unified() {
		t.Skip("needs cgroup v1: on v2 upstream's own watcher reads the same file, and with it the one goroutine hangs that handles all exits")
	}
	for name, stop := range map[string]func(*testing.T, *shimtest.Box){
		"signal from elsewhere": func(t *testing.T, c *shimtest.Box) { kill(t, c, unix.SIGTERM) },
		"kill request": func(t *testing.T, c *shimtest.Box) {
			ctx, cancel := context.WithTimeout(t.Context(), shimtest.Patience/2)
			defer cancel()
			require.NoError(t, c.Kill(ctx, 15), "the Kill request hangs")
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, "hold_timeout = '1s'\n")
			sandbox := pod(t, n)
			c := n.RunIn(sandbox.Shim, "stuck", shimtest.Args("trap-term", "3"))
			require.NoError(t, c.Stdio.WaitOutput(ctx, "ready"))
			coverStuck(t, counterFile(n, c.ID))
			stop(t, c)
			get(t, watchWait(ctx, c), 3)
			require.NoError(t, sandbox.Shim.WaitLog(ctx, "the hold timeout has passed, the exit is released"))
			beside := n.RunIn(sandbox.Shim, "beside", shimtest.Args("hog"), small)
			get(t, watchWait(ctx, beside), statusKilled)
			_, err := beside.Delete(ctx)
			require.NoError(t, err)
			short, cancel := context.WithTimeout(ctx, shimtest.Patience/2)
			defer cancel()
			_, err = c.Delete(short)
			require.NoError(t, err, "the Delete request hangs")
			event(t, n, deleteTopic, c.ID)
			wantEvents(t, n, c, quiet...)
			wantEvents(t, n, beside, full...)
			endPod(t, sandbox)
		})
	}
}

// coverStuck mounts a fifo over a file. An open for reading then blocks.
func coverStuck(t *testing.T, path string) {
	t.Helper()
	stuck := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(stuck, 0o644))
	cover(t, path, stuck)
	t.Cleanup(func() { // unblocks the readers
		if f, err := os.OpenFile(stuck, os.O_RDWR, 0); err == nil {
			_ = f.Close()
		}
	})
}

// TestCgroupGone removes the cgroup before the exit. Counters that were read before still
// count, for the verdict and in the metrics.
func TestCgroupGone(t *testing.T) {
	for name, test := range map[string]struct {
		args  []string
		ready string
		kills uint64
		want  []string
	}{
		"nothing killed": {[]string{"trap-term", "143"}, "ready", 0, quiet},
		"child killed":   {[]string{"child-oom-sleep"}, "child died", 1, full},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, "hold_timeout = '5m'\ngrace = '5m'\n")
			c := n.Run("uprooted", shimtest.Args(test.args...), small)
			require.NoError(t, c.Stdio.WaitOutput(ctx, test.ready))
			if test.kills > 0 {
				waitKills(t, c.Shim, c.ID, 1)
			}
			moveOut(t, n, c)
			kill(t, c, unix.SIGTERM)
			get(t, watchWait(ctx, c), 143)
			if test.kills > 0 {
				require.Equal(t, metrics{kills: 1, limit: smallLimit}, stats(t, c))
			}
			end(t, c)
			wantEvents(t, n, c, test.want...)
			log := c.Shim.Logs()
			require.Len(t, logLines(log, "exit gate: cgroup gone", "container=uprooted", "total=1"), 1)
			gone, known := logLines(log, "msg=verdict", "cgroup_gone=true"), logLines(log, "msg=verdict", "evidence=ledger")
			require.Len(t, append(gone, known...), 1, "said to be gone, unless the ledger knows all the same")
		})
	}
}

// TestBadRuntime has runc missing, or another file in its place. The next container with a good
// runc, of the same name, runs.
func TestBadRuntime(t *testing.T) {
	wrong, err := exec.LookPath("true")
	require.NoError(t, err)
	fails, err := exec.LookPath("false")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(*options.Options)
		says   string
	}{
		"missing":      {func(o *options.Options) { o.BinaryName = "/missing/runc" }, "/missing/runc"},
		"not-runc":     {func(o *options.Options) { o.BinaryName = wrong }, "init.pid"},
		"fails":        {func(o *options.Options) { o.BinaryName = fails }, "OCI runtime create failed"},
		"not-a-binary": {func(o *options.Options) { o.BinaryName = "/" }, `exec: "/"`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, patient)
			b := n.NewBundle("c", shimtest.Args("hog"), small)
			s, err := n.StartShim(ctx, b)
			require.NoError(t, err)
			request := b.CreateRequest()
			request.Options = n.RuncOptions(test.change)
			_, err = s.Task().Create(ctx, request)
			require.ErrorContains(t, err, test.says)
			require.Empty(t, n.Events.Attempts())

			c := createIn(t, s, b)
			start(t, c)
			get(t, watchWait(ctx, c), statusKilled)
			end(t, c)
			wantEvents(t, n, c, full...)
		})
	}
}

// TestNoSpec removes config.json from a bundle, or damages it.
func TestNoSpec(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing":   os.Remove,
		"not JSON":  func(path string) error { return os.WriteFile(path, []byte("{"), 0o644) },
		"wrong":     func(path string) error { return os.WriteFile(path, []byte(`{"annotations":[1]}`), 0o644) },
		"directory": func(path string) error { return errOf(os.Remove(path), os.Mkdir, path) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := node(t, patient)
			b := n.NewBundle("c", shimtest.Args("hog"), small)
			spec, err := os.ReadFile(b.File("config.json"))
			require.NoError(t, err)
			s, err := n.StartShim(ctx, b)
			require.NoError(t, err)
			require.NoError(t, spoil(b.File("config.json")))
			_, err = s.Task().Create(ctx, b.CreateRequest())
			require.ErrorContains(t, err, "OCI runtime create failed")
			require.Regexp(t, `config\.json|json:|unexpected EOF`, err.Error()) // runc's own words
			require.Empty(t, n.Events.Attempts())

			require.NoError(t, os.RemoveAll(b.File("config.json")))
			require.NoError(t, os.WriteFile(b.File("config.json"), spec, 0o644))
			c := createIn(t, s, b)
			start(t, c)
			get(t, watchWait(ctx, c), statusKilled)
			end(t, c)
			wantEvents(t, n, c, full...)
		})
	}
}

func errOf(err error, mkdir func(string, os.FileMode) error, path string) error {
	if err != nil {
		return err
	}
	return mkdir(path, 0o755)
}

// TestNoMemoryController runs containers where no evidence of OOMs can be read.
func TestNoMemoryController(t *testing.T) {
	if unified() {
		t.Skip("needs cgroup v1: on v2 runc refuses a tree whose cgroup.controllers is covered")
	}
	ctx := deadline(t)
	self, err := os.Executable()
	require.NoError(t, err)
	real := shimtest.Ours(t)
	n := node(t, patient, func(c *shimtest.Config) {
		c.Shim = self
		c.Env = append(c.Env, hideMemoryEnv+"="+real)
	})
	unlimited := func(s *specs.Spec) { s.Linux.Resources.Memory = nil }
	sandbox := n.Run("pod", shimtest.Sandbox("pod"), unlimited)
	for id, status := range map[string]uint32{"clean": 0, "fails": 7} {
		code := map[uint32]string{0: "0", 7: "7"}[status]
		c := n.RunIn(sandbox.Shim, id, shimtest.Args("exit", code), unlimited)
		get(t, watchWait(ctx, c), status)
		state, err := c.State(ctx)
		require.NoError(t, err)
		require.Equal(t, status, state.ExitStatus)
		_, err = c.Delete(ctx)
		require.NoError(t, err)
		event(t, n, deleteTopic, id)
		wantEvents(t, n, c, quiet...)
	}
	endPod(t, sandbox)
	wantEvents(t, n, sandbox, quiet...)
	require.Len(t, logLines(sandbox.Shim.Logs(), "level=error", "no OOM can be recognised on this node"), 1)
}
