package bpf_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// nested is what a node that is a container has seen of two containers of its own.
type nested struct {
	Self           int
	Meta           bpf.Meta
	Worker, Killed oom.Evidence
	WorkerPID      int
	KilledPID      int
}

// helpNode is the shim of a node that is a container: DIR LOCKDIR CGROUP. It has a worker
// of one container OOM-killed, and sends another container's init a SIGKILL.
func helpNode(args []string) int {
	n, err := runNode(bpf.Options{Dir: args[0], LockDir: args[1], OwnPIDs: true}, args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runNode(o bpf.Options, cgroup string) (n nested, err error) {
	err = errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""))
	if err != nil {
		return n, err
	}
	if _, err := bpf.Load(o); err != nil {
		return n, err
	}
	h, err := oom.FindHierarchy()
	if err != nil {
		return n, err
	}
	source := bpf.NewSource(o.Dir, h)
	defer source.Close()
	n.Self = os.Getpid()
	n.WorkerPID, n.Worker, err = runContainer(source, cgroup, worker+"; true", func(int) error { return nil })
	if err != nil {
		return n, err
	}
	n.KilledPID, n.Killed, err = runContainer(source, cgroup, "sleep 600", func(pid int) error { return unix.Kill(pid, unix.SIGKILL) })
	if err != nil {
		return n, err
	}
	l, err := bpf.Open(o.Dir)
	if err != nil {
		return n, err
	}
	defer l.Close()
	n.Meta, err = l.Meta()
	return n, err
}

// runContainer runs a script as an init with a PID namespace of its own, and reads the
// evidence of its end.
func runContainer(source *bpf.Source, cgroup, script string, do func(pid int) error) (int, oom.Evidence, error) {
	cmd := exec.Command("sh", "-c", "read go; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, oom.Evidence{}, err
	}
	pid := cmd.Process.Pid
	if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0o644); err != nil {
		return 0, oom.Evidence{}, err
	}
	probe, err := source.Arm(oom.Target{ID: "c", Pid: pid})
	if err != nil {
		return 0, oom.Evidence{}, err
	}
	defer probe.Close()
	_, err = in.Write([]byte("\n"))
	if err = errors.Join(err, do(pid)); err != nil {
		return 0, oom.Evidence{}, err
	}
	_ = cmd.Wait()
	ev, err := probe.Read()
	return pid, ev, err
}

// TestNodeInContainer: a node with a PID namespace of its own, as with kind, has a ledger
// with its own PIDs, in the place of one that a process outside has loaded. The kernel's
// first PID namespace is not asked for it again.
func TestNodeInContainer(t *testing.T) {
	k := newKin(t)
	cmd := exec.Command("/proc/self/exe", k.opts.Dir, k.opts.LockDir, k.dir)
	cmd.Env = append(os.Environ(), helperEnv+"=node")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := cmd.Output()
	require.NoError(t, err)
	var n nested
	require.NoError(t, json.Unmarshal(out, &n))
	require.Equal(t, 1, n.Self)
	require.EqualValues(t, 1, n.Worker.Kills)
	require.Equal(t, oom.No, n.Worker.Init)
	require.Len(t, n.Worker.Victims, 1)
	v := n.Worker.Victims[0]
	require.Equal(t, "tail", v.Comm)
	require.Equal(t, oom.LineageDescendant, v.Lineage)
	require.Greater(t, v.PID, n.WorkerPID)
	require.Less(t, v.PID, n.KilledPID)
	require.Equal(t, oom.Yes, n.Killed.Sent)
	require.Equal(t, n.Self, n.Killed.Sender.PID)
	require.NotEqual(t, uint32(0xEFFFFFFC), n.Meta.PIDNS)

	_, err = k.source.Arm(oom.Target{ID: "c", Pid: startIdle(t, k.dir).pid()})
	require.ErrorIs(t, err, bpf.ErrPIDs)
	st, err := bpf.Load(k.opts)
	require.NoError(t, err)
	require.False(t, st.Loaded, "who does not know the node's PIDs leaves it alone")
	own := k.opts
	own.OwnPIDs = true
	_, err = bpf.Load(own)
	require.ErrorIs(t, err, bpf.ErrPIDs, "that of another node is left alone")
}
