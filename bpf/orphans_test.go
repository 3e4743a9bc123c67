package bpf_test

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/oom"
)

// session starts a shell as a runtime starts a process: the shell begins a session, and waits for its stdin.
func (k *kin) session(t *testing.T, script string, flags uintptr) *proc {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read go; "+script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	return startCommand(t, k.dir, cmd)
}

// waiting is a process of a shell's that waits for the end of the shell, and has a worker then.
const waiting = "exec 3<&0; (read go <&3; " + worker + ") & true"

// TestOrphansOfExecs kills what exec'd processes have left behind to init. The test is the shim.
func TestOrphansOfExecs(t *testing.T) {
	k := newKin(t)
	init := k.session(t, waiting+"; sleep 600", unix.CLONE_NEWPID)
	probe := k.arm(t, init)
	init.step(t)
	kills := 0
	leave := func(script string, known bool) oom.Lineage {
		t.Helper()
		began := bpf.BootNow()
		var shell *proc
		joinNamespace(t, init.pid(), func() { shell = k.session(t, script, 0) })
		if known {
			probe.(oom.ExecWatcher).Execed(shell.pid(), began, false)
		}
		shell.step(t)
		require.NoError(t, shell.cmd.Wait()) // closes the orphan's stdin
		if known {
			probe.(oom.ExecWatcher).Execed(shell.pid(), bpf.BootNow(), true)
		}
		kills++
		return k.next(t, probe, kills)
	}
	require.Equal(t, oom.LineageExec, leave(waiting, true))
	require.Equal(t, oom.LineageExec, leave("("+waiting+")", true), "an orphan of an orphan")
	require.Equal(t, oom.LineageDescendant, leave(waiting, false), "nobody knows of the exec")
	require.Equal(t, oom.LineageDescendant, leave("setsid sh -c '"+waiting+"'", true), "a session of its own")
	init.step(t)
	require.Equal(t, oom.LineageDescendant, k.next(t, probe, kills+1), "init's own")
}
