//go:build linux

package shimtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

// The harness is tested with the stock shim: a failure here is a failure of the harness.

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestExit(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	c := n.Run("exits", Args("exit", "3"))
	exit := must[*task.WaitResponse](t)(c.Wait(ctx))
	if exit.ExitStatus != 3 {
		t.Errorf("exit status %d, want 3", exit.ExitStatus)
	}
	event := must[*Event](t)(n.Events.Wait(ctx, All(Topic("/tasks/exit"), Container("exits"))))
	message := event.Message.(*eventsapi.TaskExit)
	if message.ExitStatus != 3 || int(message.Pid) != c.Pid || event.Accepted.Before(event.Received) {
		t.Errorf("event %v", message)
	}
	must[*task.DeleteResponse](t)(c.Delete(ctx))
	must[*Event](t)(n.Events.Wait(ctx, Topic("/tasks/delete")))
	want := []string{"/tasks/create(exits)", "/tasks/start(exits)", "/tasks/exit(exits)", "/tasks/delete(exits)"}
	if got := list(n.Events.All()); got != "["+strings.Join(want, " ")+"]" {
		t.Errorf("events %s, want %s", got, want)
	}
	if err := c.Shutdown(ctx); err != nil && !errors.Is(err, ttrpc.ErrClosed) { // the answer of a shim that has ended
		t.Fatal(err)
	}
	if err := c.Shim.WaitExit(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestOOM(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status uint32
	}{
		"hog":            {[]string{"hog"}, 137},
		"child-oom-exit": {[]string{"child-oom-exit", "7"}, 7},
		"nested":         {[]string{"nested", "8", "5"}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			n := Start(t, Config{Shim: Stock(t)})
			c := n.Run(name, Args(test.args...), CgroupMount)
			exit := must[*task.WaitResponse](t)(c.Wait(ctx))
			if exit.ExitStatus != test.status {
				t.Errorf("exit status %d, want %d: %s", exit.ExitStatus, test.status, c.Stdio.ErrorOutput())
			}
		})
	}
}

func TestChildOOMThenStop(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	c := n.Run("parent", Args("child-oom-sleep"))
	if err := c.Stdio.WaitOutput(ctx, "child died"); err != nil {
		t.Fatal(err)
	}
	must[*Event](t)(n.Events.Wait(ctx, Topic("/tasks/oom")))
	if err := c.Kill(ctx, uint32(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if exit := must[*task.WaitResponse](t)(c.Wait(ctx)); exit.ExitStatus != 143 {
		t.Errorf("exit status %d, want 143", exit.ExitStatus)
	}
}

func TestEndpointFaults(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	exit := All(Topic("/tasks/exit"), Container("faulty"))
	created, started := Topic("/tasks/create"), Topic("/tasks/start")

	n.Events.LoseAnswer(created, 1)
	n.Events.Drop(started, 1)
	release := n.Events.Hold(exit)
	c := n.Run("faulty", Args("exit", "0"))
	must[*Event](t)(n.Events.WaitAttempt(ctx, exit))
	if len(n.Events.Select(exit)) != 0 {
		t.Error("a held event was accepted")
	}
	release()
	must[*Event](t)(n.Events.Wait(ctx, exit))
	if got := len(n.Events.Select(created)); got != 2 {
		t.Errorf("create accepted %d times, want 2: its first answer was lost", got)
	}
	if got := len(n.Events.Select(started)); got != 1 {
		t.Errorf("start accepted %d times, want 1: its first call was dropped", got)
	}

	n.Events.Delay(Topic("/tasks/delete"), 10*time.Millisecond)
	n.Events.Fail(Topic("/tasks/delete"), errdefs.ErrUnavailable, 1)
	must[*task.DeleteResponse](t)(c.Delete(ctx))
	event := must[*Event](t)(n.Events.Wait(ctx, Topic("/tasks/delete")))
	if got := len(filter(n.Events.Attempts(), Topic("/tasks/delete"))); got != 2 {
		t.Errorf("delete sent %d times, want 2: its first call was refused", got)
	}
	if event.Accepted.Sub(event.Received) < 10*time.Millisecond {
		t.Error("a delayed event was accepted at once")
	}
}

func TestEndpointAbsent(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	c := n.Run("away", Args("trap-term", "9"))
	if err := c.Stdio.WaitOutput(ctx, "ready"); err != nil {
		t.Fatal(err)
	}
	n.Events.StopListening()
	if err := c.Kill(ctx, uint32(unix.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if exit := must[*task.WaitResponse](t)(c.Wait(ctx)); exit.ExitStatus != 9 {
		t.Errorf("exit status %d, want 9", exit.ExitStatus)
	}
	if err := c.Shim.WaitLog(ctx, "post event"); err != nil {
		t.Fatal(err)
	}
	if err := n.Events.Resume(); err != nil {
		t.Fatal(err)
	}
	must[*Event](t)(n.Events.Wait(ctx, Topic("/tasks/exit")))
}

func TestSandbox(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	sandbox := n.Run("pod", Sandbox("pod"))
	grouped := must[*Shim](t)(n.StartGrouped(ctx, n.NewBundle("grouped", Sandbox("pod"))))
	joined := n.RunIn(sandbox.Shim, "joined", Args("exit", "4"))
	if grouped.Pid() != sandbox.Shim.Pid() || joined.Shim.Pid() != sandbox.Shim.Pid() {
		t.Errorf("shims %d, %d and %d, want one", sandbox.Shim.Pid(), grouped.Pid(), joined.Shim.Pid())
	}
	if exit := must[*task.WaitResponse](t)(joined.Wait(ctx)); exit.ExitStatus != 4 {
		t.Errorf("exit status %d, want 4", exit.ExitStatus)
	}
}

func TestInspect(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t), Debug: true})
	c := n.Run("inspected")
	for range 2 {
		stacks := must[[]string](t)(c.Shim.Goroutines(ctx))
		if !slices.ContainsFunc(stacks, func(s string) bool {
			return strings.HasPrefix(s, "goroutine ") && strings.Contains(s, "processExits")
		}) {
			t.Errorf("no processExits in %d stacks", len(stacks))
		}
	}
	fds := must[[]string](t)(c.Shim.FDs())
	if !slices.Contains(fds, c.Stdio.Stdout) {
		t.Errorf("no %s in %q", c.Stdio.Stdout, fds)
	}
}

func TestDeadShim(t *testing.T) {
	ctx := deadline(t)
	n := Start(t, Config{Shim: Stock(t)})
	c := n.Run("orphan")
	if err := c.Shim.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.State(ctx); err == nil {
		t.Error("a dead shim answers")
	}
	response, _, err := n.DeleteDead(ctx, c.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	if response.ExitStatus != 137 || int(response.Pid) != c.Pid {
		t.Errorf("delete: %v", response)
	}
}

func TestCleanUp(t *testing.T) {
	var dir, name string
	var pids []int
	t.Run("node", func(t *testing.T) {
		n := Start(t, Config{Shim: Stock(t)})
		c := n.Run("left-over")
		dir, name, pids = n.Dir, n.Name(), []int{c.Pid, c.Shim.Pid()}
	})
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
	for _, pid := range pids {
		if data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); len(data) != 0 && !strings.Contains(string(data), ") Z ") {
			t.Errorf("process %d is left: %s", pid, data)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/oomwitness-test", "/sys/fs/cgroup/*/oomwitness-test"} {
		if left, _ := filepath.Glob(filepath.Join(pattern, name)); len(left) != 0 {
			t.Errorf("cgroups are left: %q", left)
		}
	}
}
