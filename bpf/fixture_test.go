package bpf_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

var (
	serial atomic.Uint64
	// unified is where cgroup v2 is mounted, if memory is on it.
	unified = "none"
)

// bench is a ledger of a test's own, with cgroups beside it.
type bench struct {
	h      oom.Hierarchy
	opts   bpf.Options
	status bpf.Status
	parent string // cgroup of all that the test makes
}

// needRoot skips where the ledger can't be tested.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to load BPF programs and make cgroups")
	}
	require.NotEmpty(t, bpffs, "root, but no BPF filesystem could be mounted")
}

// forcedTier is TIER of the environment.
func forcedTier(t *testing.T) bpf.Tier {
	t.Helper()
	tier, err := bpf.ParseTier(os.Getenv("TIER"))
	require.NoError(t, err)
	return tier
}

func testOptions(t *testing.T) bpf.Options {
	t.Helper()
	needRoot(t)
	return bpf.Options{
		Dir:     filepath.Join(bpffs, fmt.Sprintf("t%d", serial.Add(1))),
		LockDir: t.TempDir(),
		Tier:    forcedTier(t),
	}
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{opts: testOptions(t)}
	var err error
	b.h, err = oom.FindHierarchy()
	require.NoError(t, err)
	if b.h.Version == 2 {
		unified = b.h.Mount
	}
	b.status, err = bpf.Load(b.opts)
	require.NoError(t, err)
	dir, locks := b.opts.Dir, b.opts.LockDir
	t.Cleanup(func() { require.NoError(t, bpf.Unload(dir, locks)) })
	b.parent = filepath.Join(b.h.Mount, fmt.Sprintf("oomwitness-bpf-%d-%d", os.Getpid(), serial.Add(1)))
	b.cgroup(t, "", 0)
	return b
}

// cgroup makes one below the test's, with a limit if it is above 0.
func (b *bench) cgroup(t *testing.T, name string, limit int64) string {
	t.Helper()
	dir := filepath.Join(b.parent, name)
	oomtest.MakeCgroup(t, b.h, dir, limit)
	return dir
}

func (b *bench) open(t *testing.T) *bpf.Ledger {
	t.Helper()
	l, err := bpf.Open(b.opts.Dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// proc is a helper process.
type proc struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.Reader
	ticks uint64
}

// start starts a helper in a cgroup, waiting for its stdin.
func start(t *testing.T, dir, helper string, args ...string) *proc {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+helper, "GOMAXPROCS=2", "GOGC=off")
	return startCommand(t, dir, cmd)
}

// startHog starts a small process that takes memory until it is killed, once
// its stdin is closed.
func startHog(t *testing.T, dir string) *proc {
	t.Helper()
	return startCommand(t, dir, exec.Command("sh", "-c", "read go; exec tail /dev/zero"))
}

// startIdle starts one that waits.
func startIdle(t *testing.T, dir string) *proc {
	t.Helper()
	return startCommand(t, dir, exec.Command("sleep", "600"))
}

func startCommand(t *testing.T, dir string, cmd *exec.Cmd) *proc {
	t.Helper()
	p := &proc{cmd: cmd}
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	p.out, err = p.cmd.StdoutPipe()
	require.NoError(t, err)
	direct := dir != "" && strings.HasPrefix(dir, unified)
	if direct { // so that all its memory is charged there
		fd, err := os.Open(dir)
		require.NoError(t, err)
		defer fd.Close()
		if p.cmd.SysProcAttr == nil {
			p.cmd.SysProcAttr = new(syscall.SysProcAttr)
		}
		p.cmd.SysProcAttr.UseCgroupFD, p.cmd.SysProcAttr.CgroupFD = true, int(fd.Fd())
	}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	if dir != "" && !direct {
		oomtest.Join(t, dir, p.pid())
	}
	p.ticks, err = bpf.StartTicks(p.pid())
	require.NoError(t, err)
	return p
}

func (p *proc) pid() int { return p.cmd.Process.Pid }

// begin lets a helper know that it is in its cgroup.
func (p *proc) begin(t *testing.T) {
	t.Helper()
	_, err := p.in.Write([]byte{0})
	require.NoError(t, err)
}

func (p *proc) prefer(t *testing.T, adj int) {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.pid()), []byte(strconv.Itoa(adj)), 0o644))
}

// killed waits for the process's end, which must be by SIGKILL.
func (p *proc) killed(t *testing.T) {
	t.Helper()
	_ = p.cmd.Wait()
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL, "the process ended with %v", p.cmd.ProcessState)
}

// hog has the OOM killer end one process in a cgroup, and waits for its end.
func hog(t *testing.T, dir string) *proc {
	t.Helper()
	p := startHog(t, dir)
	p.prefer(t, 1000)
	require.NoError(t, p.in.Close())
	p.killed(t)
	return p
}

// record returns the ledger's record of a process, which must be there.
func record(t *testing.T, l *bpf.Ledger, p *proc) bpf.Record {
	t.Helper()
	r, ok, err := l.Task(uint32(p.pid()), p.ticks)
	require.NoError(t, err)
	require.True(t, ok, "pid %d is not in the ledger", p.pid())
	return r
}

func cgroupOf(t *testing.T, l *bpf.Ledger, dir string) bpf.Cgroup {
	t.Helper()
	id, err := bpf.CgroupID(dir)
	require.NoError(t, err)
	c, _, err := l.Cgroup(id)
	require.NoError(t, err)
	return c
}
