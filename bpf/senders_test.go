package bpf_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// idle starts a container's init that waits, in a PID namespace of its own or not.
func (k *kin) idle(t *testing.T, flags uintptr) *proc {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setpgid: true}
	return startCommand(t, k.dir, cmd)
}

func (k *kin) evidence(t *testing.T, p oom.Probe) oom.Evidence {
	t.Helper()
	ev, err := p.Read()
	require.NoError(t, err)
	return ev
}

// TestSenders sends init a SIGKILL by each call that there is for that.
func TestSenders(t *testing.T) {
	tgkill := func(pid int) error {
		_, _, errno := unix.RawSyscall(unix.SYS_TGKILL, uintptr(pid), uintptr(pid), uintptr(unix.SIGKILL))
		if errno != 0 {
			return errno
		}
		return nil
	}
	for name, send := range map[string]func(k *kin, pid int) error{
		"kill":         func(_ *kin, pid int) error { return unix.Kill(pid, unix.SIGKILL) },
		"kill a group": func(_ *kin, pid int) error { return unix.Kill(-pid, unix.SIGKILL) },
		"tgkill":       func(_ *kin, pid int) error { return tgkill(pid) },
		"pidfd": func(_ *kin, pid int) error {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		},
		"cgroup.kill": func(k *kin, _ int) error {
			return os.WriteFile(filepath.Join(k.dir, "cgroup.kill"), []byte("1"), 0o200)
		},
	} {
		for namespace, flags := range map[string]uintptr{"own PIDs": unix.CLONE_NEWPID, "the node's": 0} {
			t.Run(name+", "+namespace, func(t *testing.T) {
				k := newKin(t)
				init := k.idle(t, flags)
				if _, err := os.Stat(filepath.Join(k.dir, "cgroup.kill")); err != nil && name == "cgroup.kill" {
					t.Skipf("needs cgroup.kill, of cgroup v2 from Linux 5.14 on: %v", err)
				}
				probe := k.arm(t, init)
				require.Equal(t, oom.No, k.evidence(t, probe).Sent)
				before := time.Now()
				require.NoError(t, send(k, init.pid()))
				init.killed(t)
				ev := k.evidence(t, probe)
				require.Equal(t, oom.Yes, ev.Sent)
				require.Equal(t, oom.No, ev.Init)
				k.isTest(t, ev.Sender)
				require.WithinRange(t, ev.Sender.At, before, time.Now())
				require.Equal(t, ev, k.evidence(t, probe), "reading again changes nothing")
			})
		}
	}
}

// isTest checks that a sender is this test.
func (k *kin) isTest(t *testing.T, s *oom.Sender) {
	t.Helper()
	require.NotNil(t, s)
	ticks, err := bpf.StartTicks(os.Getpid())
	require.NoError(t, err)
	path, err := k.h.PathOf(os.Getpid())
	require.NoError(t, err)
	id, err := bpf.CgroupID(k.h.Mount + path)
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), s.PID)
	require.Equal(t, ticks, s.StartTicks)
	require.Contains(t, filepath.Base(os.Args[0])+" exe", s.Comm)
	require.Zero(t, s.UID)
	require.Equal(t, id, s.Cgroup)
	require.Equal(t, path, s.CgroupPath)
}

// TestFirstSender: the second SIGKILL changes nothing, and neither does one that the kernel
// ignores, nor another signal.
func TestFirstSender(t *testing.T) {
	k := newKin(t)
	init := k.idle(t, unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	joinNamespace(t, init.pid(), func() {
		inside := k.run(t, "kill -9 1; kill -9 -1; true", 0)
		inside.step(t)
		require.NoError(t, inside.cmd.Wait())
	})
	require.NoError(t, unix.Kill(init.pid(), unix.SIGCONT))
	require.Equal(t, oom.No, k.evidence(t, probe).Sent, "from inside it is ignored")

	other := exec.Command("sh", "-c", fmt.Sprintf("kill -9 %d; kill -9 %[1]d; true", init.pid()))
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, other.Run())
	_ = unix.Kill(init.pid(), unix.SIGKILL)
	init.killed(t)
	ev := k.evidence(t, probe)
	require.Equal(t, oom.Yes, ev.Sent)
	require.Equal(t, other.Process.Pid, ev.Sender.PID)
	require.Equal(t, "sh", ev.Sender.Comm)
}

// TestKernelSends: a SIGKILL by the kernel itself has no sender's PID.
func TestKernelSends(t *testing.T) {
	k := newKin(t)
	init := k.run(t, "while :; do :; done", unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	second := unix.Rlimit{Cur: 1, Max: 1}
	require.NoError(t, unix.Prlimit(init.pid(), unix.RLIMIT_CPU, &second, nil))
	init.step(t)
	init.killed(t)
	ev := k.evidence(t, probe)
	require.Equal(t, oom.Yes, ev.Sent)
	require.Zero(t, ev.Sender.PID)
	require.Equal(t, "kernel", ev.Sender.String())
	require.Equal(t, oom.No, ev.Init)
}

// TestVictimHasNoSender: the OOM killer is not one, in any tier.
func TestVictimHasNoSender(t *testing.T) {
	k := newKin(t)
	init := k.run(t, "echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero", unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	init.step(t)
	init.killed(t)
	ev := k.evidence(t, probe)
	require.Equal(t, oom.Yes, ev.Init)
	require.Equal(t, oom.No, ev.Sent)
	require.Nil(t, ev.Sender)
	list, err := k.open(t).Senders()
	require.NoError(t, err)
	require.NotContains(t, initsOf(list), k.key(init))
}

// key is a process's.
func (*kin) key(p *proc) bpf.TaskKey {
	return bpf.TaskKey{TGID: uint32(p.pid()), StartTicks: p.ticks}
}

func initsOf(list []bpf.Sender) (keys []bpf.TaskKey) {
	for _, s := range list {
		keys = append(keys, s.Init)
	}
	return keys
}

// TestUnwatched: without a shim the sender is known for process 1 of a PID namespace that
// root has started in the node's; of others nothing is written down, so that nobody else
// fills the map.
func TestUnwatched(t *testing.T) {
	k := newKin(t)
	l := k.open(t)
	init, plain := k.idle(t, unix.CLONE_NEWPID), k.idle(t, 0)
	var inner *proc
	joinNamespace(t, init.pid(), func() {
		// Process 1 of a namespace that was made inside another.
		inner = k.run(t, "exec unshare --pid --fork sh -c 'sleep 600 & kill -9 $!; exec unshare --pid --fork true'", 0)
		inner.step(t)
		require.NoError(t, inner.cmd.Wait())
	})
	user := startCommand(t, "", asUser(exec.Command("unshare", "--user", "--pid", "--fork", "sleep", "600")))
	children := childrenOf(t, user.pid())
	for _, pid := range []int{init.pid(), plain.pid(), children[0]} {
		require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	}
	init.killed(t)
	plain.killed(t)
	_ = user.cmd.Wait()
	list, err := l.Senders()
	require.NoError(t, err)
	mine := 0
	for _, s := range list {
		if s.TGID == uint32(os.Getpid()) {
			mine++
			require.Equal(t, k.key(init), s.Init)
			require.False(t, s.Kernel)
			id, err := bpf.CgroupID(k.dir)
			require.NoError(t, err)
			require.Equal(t, id, s.InitCgroup)
		}
	}
	require.Equal(t, 1, mine, "%+v", list)
	require.NoError(t, l.Forget(k.key(init)))
	require.NoError(t, l.Forget(k.key(init)))
	list, err = l.Senders()
	require.NoError(t, err)
	require.NotContains(t, initsOf(list), k.key(init))
}

// TestForgetWatched: what a shim is yet to ask for stays.
func TestForgetWatched(t *testing.T) {
	k := newKin(t)
	init := k.idle(t, unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	require.NoError(t, init.cmd.Process.Kill())
	init.killed(t)
	require.NoError(t, k.open(t).Forget(k.key(init)))
	require.Equal(t, oom.Yes, k.evidence(t, probe).Sent)
}

// asUser makes a command an ordinary user's.
func asUser(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	return cmd
}

// childrenOf waits for the children of a process.
func childrenOf(t *testing.T, pid int) (list []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
		for _, s := range lines(data) {
			child, err := strconv.Atoi(s)
			require.NoError(t, err)
			list = append(list, child)
		}
		return err == nil && len(list) > 0
	}, 10*time.Second, time.Millisecond)
	return list
}

// TestClosed: a probe that is closed leaves nothing behind, and one that goes on in another
// process does.
func TestClosed(t *testing.T) {
	k := newKin(t)
	init := k.idle(t, 0)
	first, err := k.source.Arm(oom.Target{ID: "c", Pid: init.pid()})
	require.NoError(t, err)
	data, err := first.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
	require.NoError(t, unix.Kill(init.pid(), unix.SIGKILL))
	init.killed(t)
	second, err := k.source.Resume(data)
	require.NoError(t, err)
	ev := k.evidence(t, second)
	require.Equal(t, oom.Yes, ev.Sent)
	require.Equal(t, os.Getpid(), ev.Sender.PID)
	require.NoError(t, second.Close())
	ev = k.evidence(t, first)
	require.Equal(t, oom.Unknown, ev.Sent, "the ledger has forgotten init")
	require.NoError(t, first.Close())
}

// TestWatchedOverUpgrade: senders are known over a change of the ledger's version and ABI.
func TestWatchedOverUpgrade(t *testing.T) {
	k := newKin(t)
	require.NoError(t, bpf.Unload(k.opts.Dir, k.opts.LockDir))
	_, err := bpf.Load(k.opts)
	require.NoError(t, err)
	before, after := k.idle(t, 0), k.idle(t, 0)
	one, two := k.arm(t, before), k.arm(t, after)
	require.NoError(t, unix.Kill(before.pid(), unix.SIGKILL))
	before.killed(t)
	_, err = bpf.Load(k.opts.As(bpf.ABI, bpf.Version+1))
	require.NoError(t, err)
	require.NoError(t, unix.Kill(after.pid(), unix.SIGKILL))
	after.killed(t)
	require.Equal(t, oom.Yes, k.evidence(t, one).Sent)
	require.Equal(t, oom.Yes, k.evidence(t, two).Sent)
}
