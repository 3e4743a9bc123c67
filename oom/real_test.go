package oom_test

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
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const (
	helperEnv = "OOM_TEST_HELPER"
	realLimit = 32 << 20
)

// TestMain runs this binary as a process to be killed when it is asked to: it
// waits for its stdin to be closed, and then takes memory until it is killed.
func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) == "" {
		os.Exit(m.Run())
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	for {
		mem, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			os.Exit(3)
		}
		for i := 0; i < len(mem); i += 4096 {
			mem[i] = 1
		}
	}
}

// TestCountersConformForReal runs the suite on this machine's kernel.
func TestCountersConformForReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err, "the machine has no memory controller")
	t.Logf("memory controller: cgroup v%d at %s", h.Version, h.Mount)
	oomtest.Run(t, func(t *testing.T) oomtest.Fixture { return newReal(t, h) })
}

// real is a container as the kernel sees it: a limited cgroup with an idle init,
// and a sibling beside it.
type real struct {
	h        oom.Hierarchy
	dir, sib string
	init     *exec.Cmd
}

func newReal(t *testing.T, h oom.Hierarchy) *real {
	t.Helper()
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-test-%d", time.Now().UnixNano()))
	f := &real{h: h, dir: filepath.Join(parent, "c"), sib: filepath.Join(parent, "other")}
	makeCgroup(t, h, parent, 0)
	makeCgroup(t, h, f.dir, realLimit)
	makeCgroup(t, h, f.sib, realLimit)
	f.init = exec.Command("sleep", "600")
	require.NoError(t, f.init.Start())
	t.Cleanup(func() { f.endInit() })
	join(t, f.dir, f.init.Process.Pid)
	return f
}

func makeCgroup(t *testing.T, h oom.Hierarchy, dir string, limit int64) {
	t.Helper()
	if h.Version == 2 {
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), []byte("+memory"), 0o644))
	}
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { removeCgroup(t, dir) })
	if limit > 0 {
		file := map[int]string{1: "memory.limit_in_bytes", 2: "memory.max"}[h.Version]
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), strconv.AppendInt(nil, limit, 10), 0o644))
	}
}

// removeCgroup waits for the kernel to let go of a cgroup whose last process has
// just been reaped.
func removeCgroup(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		err := unix.Rmdir(dir)
		return err == nil || err == unix.ENOENT
	}, 5*time.Second, time.Millisecond, dir)
}

func join(t *testing.T, dir string, pid int) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0o644))
}

func (f *real) endInit() {
	if f.init != nil {
		_ = f.init.Process.Kill()
		_ = f.init.Wait()
		f.init = nil
	}
}

func (f *real) Source() oom.Source {
	s, err := oom.NewCounters(f.h)
	if err != nil {
		panic(err)
	}
	return s
}

func (f *real) Target() oom.Target { return oom.Target{ID: "c", Pid: f.init.Process.Pid} }

func (f *real) Kill(t *testing.T, n int) {
	t.Helper()
	for range n {
		killIn(t, f.dir)
	}
}

func (f *real) KillOther(t *testing.T) { killIn(t, f.sib) }

func (f *real) Remove(t *testing.T) {
	t.Helper()
	f.endInit()
	removeCgroup(t, f.dir)
}

func (f *real) Spoil(*testing.T) bool { return false }

// killIn has the OOM killer end one process in a cgroup, and waits for its end.
func killIn(t *testing.T, dir string) {
	t.Helper()
	hog := exec.Command("/proc/self/exe")
	hog.Env = append(os.Environ(), helperEnv+"=1", "GOMAXPROCS=1")
	in, err := hog.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, hog.Start())
	join(t, dir, hog.Process.Pid)
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", hog.Process.Pid), []byte("1000"), 0o644))
	require.NoError(t, in.Close())
	_ = hog.Wait()
	ws, ok := hog.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL, "the hog ended with %v", hog.ProcessState)
}
