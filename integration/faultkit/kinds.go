//go:build linux

package faultkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// Kind is a way for a container to end.
type Kind struct {
	Name   string
	Code   int32
	Reason string
	// Mode is what the workload is told to do when its moment has come; empty
	// where the client stops it.
	Mode string
	// Before is what the workload does from the start.
	Before []string
	// Lost says that its task is gone when CRI asks: the status, the time and the
	// first word of the reason are CRI's own.
	Lost bool
}

// OOMKilled is the reason of an OOM.
const OOMKilled = "OOMKilled"

// Kinds are those of the issue. The client's stop comes in two forms: in one an
// earlier kill of a child must not taint it.
var (
	KindOOM  = Kind{Name: "oom", Code: 137, Reason: OOMKilled, Mode: "hog"}
	KindStop = Kind{Name: "stop", Code: 143, Reason: "Error", Before: []string{"/workload", "trap-term", "143"}}
	Kinds    = []Kind{
		KindOOM,
		{Name: "exit3", Code: 3, Reason: "Error", Mode: "exit 3"},
		{Name: "exit0", Code: 0, Reason: "Completed", Mode: "exit 0"},
		KindStop,
	}
	KindStopTainted = Kind{
		Name: "stop", Code: 143, Reason: "Error", Before: []string{"/workload", "child-oom-sleep"},
	}
)

// Limit is small, so that the guest's own memory is never what runs out.
const Limit = 24 << 20

// Controls is the folder of the pipes by which containers are told to end;
// ControlMount is where a container finds its own.
const (
	Controls     = "/run/faults"
	ControlMount = "/ctl"
)

// Line is the container's command: a workload that is told its mode waits for it
// at a pipe, so that its end needs nobody but the test.
func (k Kind) Line() []string {
	if k.Mode == "" {
		return k.Before
	}
	return []string{"/bin/sh", "-c", "read -r mode <" + ControlMount + "/go; exec /workload $mode"}
}

// MakeControl makes the folder of a container, to be mounted at ControlMount.
func MakeControl(name string) (string, error) {
	dir := filepath.Join(Controls, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mkfifo(filepath.Join(dir, "go"), 0o600); err != nil {
		return "", fmt.Errorf("make pipe in %s: %w", dir, err)
	}
	return dir, nil
}

// OpenControl waits until the container stands at its pipe, and gives the pipe.
func OpenControl(ctx context.Context, dir string) (pipe *os.File, err error) {
	name := filepath.Join(dir, "go")
	return pipe, Until(ctx, "a reader of "+name, func() error {
		pipe, err = os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err
	})
}

// Tell has the container at the pipe end in the way of its kind.
func (k Kind) Tell(pipe *os.File) error {
	if _, err := pipe.WriteString(k.Mode + "\n"); err != nil {
		return fmt.Errorf("tell %s at %s to end: %w", k.Name, pipe.Name(), err)
	}
	return pipe.Close()
}

// Stands says that a container, given by its init, is where it waits for its
// moment. One with a pipe stands when that is open.
func (k Kind) Stands(pid int) error {
	if k.Mode != "" {
		return nil
	}
	// runc's init, which the process is until its exec, catches SIGTERM as well.
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err
	}
	if exe != k.Before[0] {
		return fmt.Errorf("process %d is %s, want %s", pid, exe, k.Before[0])
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	_, caught, _ := strings.Cut(string(text), "SigCgt:")
	caught, _, _ = strings.Cut(caught, "\n")
	mask, err := strconv.ParseUint(strings.TrimSpace(caught), 16, 64)
	if err != nil {
		return err
	}
	if mask&(1<<(unix.SIGTERM-1)) == 0 {
		return errors.New("SIGTERM is not caught yet")
	}
	if k.Before[1] != KindStopTainted.Before[1] {
		return nil
	}
	kills, err := kills(pid)
	if err == nil && kills == 0 {
		err = errors.New("its child has not been killed yet")
	}
	return err
}

// kills returns what the own counter of a process's container says: memory.events
// of cgroup v2, and memory.oom_control of v1, have the same key.
func kills(pid int) (int, error) {
	h, err := oom.FindHierarchy()
	if err != nil {
		return 0, err
	}
	dir, err := h.PathOf(pid)
	if err != nil {
		return 0, err
	}
	file := map[int]string{1: "memory.oom_control", 2: "memory.events"}[h.Version]
	text, err := os.ReadFile(filepath.Join(h.Mount, dir, file))
	if err != nil {
		return 0, err
	}
	_, count, _ := strings.Cut(string(text), "oom_kill ")
	count, _, _ = strings.Cut(count, "\n")
	return strconv.Atoi(count)
}
