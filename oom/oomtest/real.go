//go:build linux

package oomtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// RealLimit is one that a hog exceeds soon, in bytes, and that is above what
// anything else in these tests takes.
const RealLimit = 32 << 20

// MakeCgroup makes a cgroup with a limit in bytes, none if it is 0, until the
// end of the test. On v2 it gives its siblings the memory controller too.
func MakeCgroup(t *testing.T, h oom.Hierarchy, dir string, limit int64) {
	t.Helper()
	require.NoError(t, NewCgroup(h, dir, limit))
	t.Cleanup(func() { RemoveCgroup(t, dir) })
}

// NewCgroup makes a cgroup at dir with a memory limit in bytes. The caller removes the cgroup.
func NewCgroup(h oom.Hierarchy, dir string, limit int64) error {
	if h.Version == 2 {
		if err := os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), []byte("+memory"), 0o644); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil || limit == 0 {
		return err
	}
	file := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[h.Version]
	return os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, limit, 10), 0o644)
}

// RemoveCgroup waits for the kernel to let go of a cgroup whose last process has
// just been reaped.
func RemoveCgroup(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := unix.Rmdir(dir)
		return err == nil || err == unix.ENOENT
	}, 10*time.Second, time.Millisecond, dir)
}

// Join moves a process into a cgroup.
func Join(t *testing.T, dir string, pid int) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0o644))
}

// KillIn has the OOM killer end one process in a cgroup, before any other
// there, waits for its end and returns its PID. attr may be nil.
func KillIn(t *testing.T, dir string, attr *syscall.SysProcAttr) int {
	t.Helper()
	hog := exec.CommandContext(t.Context(), "sh", "-c", "read go; exec tail /dev/zero")
	hog.SysProcAttr = attr
	in, err := hog.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, hog.Start())
	defer func() { _ = hog.Process.Kill() }() // where the test fails
	pid := hog.Process.Pid
	Join(t, dir, pid)
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0o644))
	_, err = io.WriteString(in, "go\n")
	require.NoError(t, err)
	_ = hog.Wait()
	ws, ok := hog.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL, "the hog ended with %v", hog.ProcessState)
	return pid
}

// KillSmallIn has the OOM killer end a process in a cgroup that is at its limit in no
// time, waits for its end and returns its PID, 0 where it could not be started. It may
// be called from any goroutine.
func KillSmallIn(t *testing.T, dir string) int {
	t.Helper()
	hog := exec.CommandContext(t.Context(), "sh", "-c", "read go; x=0123456789; while :; do x=$x$x; done")
	in, err := hog.StdinPipe()
	if err == nil {
		err = hog.Start()
	}
	if err != nil {
		t.Errorf("start a hog: %v", err)
		return 0
	}
	pid := strconv.Itoa(hog.Process.Pid)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0o644); err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(in, "go\n")
	_ = hog.Wait()
	return hog.Process.Pid
}
