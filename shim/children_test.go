//go:build linux

package shim

import (
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	taskAPI "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/shim/internal/exit"
)

// ended returns a child of this process that has ended and was not reaped.
func ended(t *testing.T, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	require.NoError(t, unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	return cmd.Process.Pid
}

// becomes makes a process the init of a container.
func (b *bench) becomes(c *container, pid int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byPid, c.pid)
	c.pid, b.byPid[pid] = pid, c
}

// TestReap: when upstream's reaper is called, the verdict has been found, unless it takes
// longer than a millisecond or waits for what the reaper does.
func TestReap(t *testing.T) {
	const reading = reapWait / 2
	for name, tc := range map[string]struct {
		script   string
		reading  time.Duration
		prepare  func(b *bench, c *container)
		after    time.Duration
		released bool
		status   uint32
	}{
		"released first":           {"exit 3", reading, nil, reading, true, 3},
		"by a signal":              {"kill -TERM $$", reading, nil, reading, true, 143},
		"evidence that takes long": {"exit 3", time.Second, nil, reapWait, false, 3},
		"an OOM, not acked yet": {"exit 3", reading, func(b *bench, _ *container) {
			b.events.holdOOM()
			b.source.set("c", killedNow())
		}, reading, false, 3},
		"a stop without an answer": {"exit 3", reading, func(_ *bench, c *container) {
			answered := c.askStop(unix.SIGTERM)
			time.AfterFunc(time.Second, func() { answered(true) })
		}, 0, false, 3},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBench(t)
			b.create(t, "c")
			c := b.container("c")
			pid := ended(t, tc.script)
			b.becomes(c, pid)
			b.source.block = make(chan struct{})
			if tc.prepare != nil {
				tc.prepare(b, c)
			}
			begin, reaped := time.Now(), false
			time.AfterFunc(tc.reading, func() { close(b.source.block) })
			children := make(chan os.Signal, 1)
			children <- unix.SIGCHLD
			close(children)
			b.Reap(children, func() error {
				reaped = true
				require.Equal(t, tc.after, time.Since(begin))
				require.Equal(t, tc.released, c.is((*exit.State).Released))
				got, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
				require.Equal(t, pid, got, "nobody else has reaped")
				return err
			})
			require.True(t, reaped)
			require.EqualValues(t, tc.status, c.exitKnown().Status)
			require.Equal(t, pid, c.exitKnown().Pid)
			resp, err := b.Wait(b.ctx, &taskAPI.WaitRequest{ID: "c"})
			require.NoError(t, err)
			require.Equal(t, tc.status, resp.ExitStatus)
			settle()
		}))
	}
}

// TestReapOthers: a child that is no init is left to the reaper at once, and so is a signal
// that comes when no child has ended.
func TestReapOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.create(t, "c")
		children := make(chan os.Signal, 2)
		children <- unix.SIGCHLD
		reaps, begin := 0, time.Now()
		reap := func() error { reaps++; return unix.EINVAL }
		go b.Reap(children, reap)
		synctest.Wait()
		require.Equal(t, 1, reaps, "no child")
		ended(t, "exit 3")
		children <- unix.SIGCHLD
		synctest.Wait()
		require.Equal(t, 2, reaps, "an error of the reaper does not end the loop")
		require.Zero(t, time.Since(begin))
		require.Nil(t, b.container("c").exitKnown())
		close(children)
	})
}

// TestSiginfo: the kernel writes as many bytes as siginfo_t has.
func TestSiginfo(t *testing.T) {
	require.Equal(t, unsafe.Sizeof(unix.Siginfo{}), unsafe.Sizeof(siginfo{}))
}
