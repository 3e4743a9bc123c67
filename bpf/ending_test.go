package bpf_test

import (
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// TestEndingInit has the OOM killer choose an init that has called exit, and whose memory
// another process still has. The kernel counts init as killed and drops the SIGKILL: init
// ends by its own status.
func TestEndingInit(t *testing.T) {
	k := newKin(t)
	p := start(t, k.dir, "ending")
	p.begin(t)
	p.prefer(t, 1000)
	t.Cleanup(func() {
		for _, text := range pidsIn(t, k.dir) {
			pid, err := strconv.Atoi(text)
			require.NoError(t, err)
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
	require.Eventually(t, func() bool { return len(pidsIn(t, k.dir)) == 2 }, 10*time.Second, time.Millisecond)
	probe := k.arm(t, p)
	runtime.LockOSThread() // one thread is the tracer
	defer runtime.UnlockOSThread()
	require.NoError(t, unix.PtraceSeize(p.pid()))
	require.NoError(t, unix.PtraceInterrupt(p.pid()))
	stopAt(t, p.pid(), unix.PTRACE_EVENT_STOP)
	require.NoError(t, unix.PtraceSetOptions(p.pid(), unix.PTRACE_O_TRACEEXIT))
	require.NoError(t, unix.PtraceCont(p.pid(), 0))
	require.NoError(t, p.in.Close())
	stopAt(t, p.pid(), unix.PTRACE_EVENT_EXIT)

	hog := startHog(t, k.dir)
	require.NoError(t, hog.in.Close())
	hog.killed(t)
	require.NoError(t, unix.PtraceDetach(p.pid()))
	require.Error(t, p.cmd.Wait())
	require.Equal(t, 3, p.cmd.ProcessState.ExitCode())

	record(t, k.open(t), p) // the control: init is a victim
	ev, err := probe.Read()
	require.NoError(t, err)
	require.EqualValues(t, 3, ev.Kills, "init, who shares its memory, and the hog")
	end := oom.Exit{Pid: p.pid(), Status: 3, At: time.Now()}
	v := oom.Decide(oom.Case{Exit: end, Evidence: []oom.Evidence{ev}, Grace: time.Minute})
	require.Equal(t, oom.EndedExited, v.Ended, "%+v", v)
}

// stopAt waits until a traced process stops at an event.
func stopAt(t *testing.T, pid, event int) {
	t.Helper()
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		require.True(t, status.Stopped(), "%#x", status)
		if int(status>>16) == event {
			return
		}
		require.NoError(t, unix.PtraceCont(pid, int(status.StopSignal())))
	}
}
