//go:build linux

package scenario

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/bpf"
	"github.com/oomwitness/oomwitness/integration/mix"
	"github.com/oomwitness/oomwitness/oom"
)

// idle runs until SIGTERM, and then exits 0.
var idle = mix.Container{Args: []string{"trap-term", "0"}, Limit: 24 * mix.MiB, Output: true}

// hold makes a pod that lasts until the test's end, and with it its shim.
func hold(t *testing.T, r *mix.Runner, pod string) *mix.Prepared {
	t.Helper()
	p, err := r.Prepare(t.Context(), mix.Ours, mix.Case{Name: "holder", Pod: pod, Container: idle})
	require.NoError(t, err)
	t.Cleanup(func() { p.Discard(t.Context()) })
	return p
}

// TestPIDReuse has a container end by SIGKILL whose init has the PID of one that
// the OOM killer ended a moment ago, under the same shim.
func TestPIDReuse(t *testing.T) {
	r := runner(t)
	freshLedger(t)
	const pod = "podreuse"
	hold(t, r, pod)
	c, err := mix.Find("init-oom")
	require.NoError(t, err)
	c.Pod = pod
	p, err := r.Prepare(t.Context(), mix.Ours, c)
	require.NoError(t, err)
	pid := p.Pid()
	o, err := p.Finish(t.Context(), mix.ByWait)
	require.NoError(t, err)
	checkWhole(t, c, o)

	again := mix.Case{
		Name: "reused", Pod: pod, Container: idle, Act: mix.Then(mix.KillFromHost(syscall.SIGKILL)),
		Want: mix.Want{Status: 137, Init: oom.No},
	}
	p = withPID(t, r, again, pid)
	o, err = p.Finish(t.Context(), mix.ByWait)
	require.NoError(t, err)
	checkWhole(t, again, o)
	require.Equal(t, oom.EndedSignal, o.Verdict.Ended)
	require.Zero(t, o.Verdict.Kills)
	l, err := bpf.Open("")
	require.NoError(t, err)
	defer l.Close()
	records, err := l.Records()
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.EqualValues(t, pid, records[0].TGID, "the control: the ledger has the PID")
}

// withPID prepares a case until its init has that PID. runc makes some threads
// and processes before init, now more, now fewer.
func withPID(t *testing.T, r *mix.Runner, c mix.Case, pid int) *mix.Prepared {
	t.Helper()
	const tries = 200
	ahead := 20
	for i := range tries {
		last := strconv.Itoa(pid - ahead)
		require.NoError(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(last), 0o644))
		p, err := r.Prepare(t.Context(), mix.Ours, c)
		require.NoError(t, err)
		got := p.Pid()
		if got == pid {
			t.Logf("PID %d at try %d", pid, i+1)
			return p
		}
		p.Discard(t.Context())
		ahead = max(1, ahead+got-pid)
	}
	t.Fatalf("no init had PID %d in %d tries", pid, tries)
	return nil
}
