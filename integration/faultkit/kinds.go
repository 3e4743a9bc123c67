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
	// Mode is the argument that the workload gets when its moment has come; empty if the client
	// stops the container.
	Mode string
	// Before is the command that the workload runs from the start.
	Before []string
	// Lost says that the task is gone when CRI asks for it: then CRI itself makes up the
	// status, the time and the first reason.
	Lost bool
}

// OOMKilled is the reason of an OOM.
const OOMKilled = "OOMKilled"

// Kinds are the ways to end. The client's stop comes in two forms. In the second form a child
// was OOM-killed earlier, and that must not change the reason.
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

// Limit is the containers' memory limit, bytes. It is small, so that the guest never runs out
// of memory.
const Limit = 24 << 20

// Controls is the folder with the pipes that carry the modes. ControlMount is the folder in a
// container that has the container's own pipe.
const (
	Controls     = "/run/faults"
	ControlMount = "/ctl"
)

// Line returns the container's command. A workload with a mode waits for the mode at a pipe:
// only the test decides when it ends.
func (k Kind) Line() []string {
	if k.Mode == "" {
		return k.Before
	}
	return []string{"/bin/sh", "-c", "read -r mode <" + ControlMount + "/go; exec /workload $mode"}
}

// MakeControl makes the folder of a container, which is to be mounted at ControlMount.
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

// OpenControl waits until the container reads from its pipe, and returns the pipe.
func OpenControl(ctx context.Context, dir string) (pipe *os.File, err error) {
	name := filepath.Join(dir, "go")
	return pipe, Until(ctx, "a reader of "+name, func() error {
		pipe, err = os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err
	})
}

// End sends the mode: the container that waits at the pipe then ends in the way of its kind.
func (k Kind) End(pipe *os.File) error {
	if _, err := pipe.WriteString(k.Mode + "\n"); err != nil {
		return fmt.Errorf("send mode of %s to %s: %w", k.Name, pipe.Name(), err)
	}
	return pipe.Close()
}

// Stands returns nil if the container with that init waits for its moment. A container with a
// pipe waits when OpenControl has succeeded.
func (k Kind) Stands(pid int) error {
	if k.Mode != "" {
		return nil
	}
	// runc's init, which the process is before its exec, catches SIGTERM as well.
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err
	}
	if exe != k.Before[0] {
		return fmt.Errorf("process %d is %s, want %s", pid, exe, k.Before[0])
	}
	if err := Catches(pid, unix.SIGTERM); err != nil {
		return err
	}
	if k.Before[1] != KindStopTainted.Before[1] {
		return nil
	}
	return Killed(pid)
}

// Catches returns nil if a process has a handler for a signal.
func Catches(pid int, s unix.Signal) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	_, value, _ := strings.Cut(string(text), "SigCgt:")
	value, _, _ = strings.Cut(value, "\n")
	bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
	if err != nil {
		return err
	}
	if bits&(1<<(s-1)) == 0 {
		return fmt.Errorf("process %d does not catch %s yet", pid, unix.SignalName(s))
	}
	return nil
}

// Killed returns nil if the OOM killer has ended a process in the cgroup of a process.
func Killed(pid int) error {
	kills, err := kills(pid)
	if err == nil && kills == 0 {
		err = errors.New("the OOM killer has ended no process yet")
	}
	return err
}

// kills returns the count oom_kill of a process's own cgroup. The key is the same in
// memory.events of cgroup v2 and in memory.oom_control of v1.
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
