//go:build linux

package fire

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/cgroups/v3"
	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

func unified() bool { return cgroups.Mode() == cgroups.Unified }

func hierarchy() string {
	if unified() {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/memory"
}

// cgroupOf returns the directory of a container's memory cgroup.
func cgroupOf(n *shimtest.Node, id string) string {
	return filepath.Join(hierarchy(), n.CgroupsPath(id))
}

// counterFile returns the path of the file from which the shim reads its evidence.
func counterFile(n *shimtest.Node, id string) string {
	if unified() {
		return filepath.Join(cgroupOf(n, id), "memory.events")
	}
	return filepath.Join(cgroupOf(n, id), "memory.oom_control")
}

// kernelKills returns the kernel's own count.
func kernelKills(t *testing.T, n *shimtest.Node, id string) uint64 {
	t.Helper()
	data, err := os.ReadFile(counterFile(n, id))
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			kills, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			require.NoError(t, err)
			return kills
		}
	}
	require.Fail(t, "no oom_kill", "%s", data)
	return 0
}

// metrics are the values of a Stats answer that the tests compare.
type metrics struct {
	kills, limit uint64
}

func stats(t *testing.T, c *shimtest.Box) metrics {
	t.Helper()
	answer, err := c.Stats(deadline(t))
	require.NoError(t, err)
	return decode(t, answer)
}

func decode(t *testing.T, answer *task.StatsResponse) metrics {
	t.Helper()
	m, err := typeurl.UnmarshalAny(answer.Stats)
	require.NoError(t, err)
	switch m := m.(type) {
	case *cgroup1.Metrics:
		require.NotNil(t, m.MemoryOomControl)
		return metrics{m.MemoryOomControl.OomKill, m.GetMemory().GetUsage().GetLimit()}
	case *cgroup2.Metrics:
		require.NotNil(t, m.MemoryEvents)
		return metrics{m.MemoryEvents.OomKill, m.GetMemory().GetUsageLimit()}
	default:
		require.Fail(t, "unknown metrics", "%T", m)
		return metrics{}
	}
}

// moveOut moves a container's init into another memory cgroup, and removes the container's own
// cgroup. A node's administrator or systemd can do the same at any time.
func moveOut(t *testing.T, n *shimtest.Node, c *shimtest.Box) {
	t.Helper()
	elsewhere := cgroupOf(n, c.ID) + "-elsewhere"
	require.NoError(t, os.Mkdir(elsewhere, 0o755))
	procs := filepath.Join(elsewhere, "cgroup.procs")
	require.NoError(t, os.WriteFile(procs, []byte(strconv.Itoa(c.Pid)), 0o644))
	require.NoError(t, unix.Rmdir(cgroupOf(n, c.ID)))
}

// cover mounts another file over a file until the test's end. It unmounts by descriptor: the
// path may have gone with the cgroup.
func cover(t *testing.T, path, with string) {
	t.Helper()
	require.NoError(t, unix.Mount(with, path, "", unix.MS_BIND, ""))
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, unix.Unmount(fmt.Sprintf("/proc/self/fd/%d", fd), unix.MNT_DETACH))
		require.NoError(t, unix.Close(fd))
	})
}

// hideMemoryEnv names the shim to run in a place without a memory controller.
const hideMemoryEnv = "FIRE_WITHOUT_MEMORY"

// hideMemory turns the test binary, which is then called in the shim's place, into the shim in
// a mount namespace without a memory controller. The server process of the shim inherits the
// namespace.
func hideMemory() error {
	shim := os.Getenv(hideMemoryEnv)
	if shim == "" {
		return nil
	}
	if err := os.Unsetenv(hideMemoryEnv); err != nil {
		return err
	}
	runtime.LockOSThread() // a mount namespace belongs to the thread, until the thread runs the shim
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := withoutMemory(); err != nil {
		return fmt.Errorf("hide the memory controller: %w", err)
	}
	return syscall.Exec(shim, append([]string{shim}, os.Args[1:]...), os.Environ())
}

func withoutMemory() error {
	if !unified() {
		return unix.Unmount(hierarchy(), unix.MNT_DETACH)
	}
	list := filepath.Join(hierarchy(), "cgroup.controllers")
	all, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "controllers-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if _, err := f.Write(bytes.Replace(all, []byte("memory"), nil, 1)); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return unix.Mount(f.Name(), list, "", unix.MS_BIND, "")
}
