//go:build linux

package docker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// notice is the time that dockerd may need to notice what happened while a daemon was away.
const notice = 20 * time.Second

// absence is a way for a container to end while a daemon is away.
type absence struct {
	testCase
	// dockerd says that dockerd is away; otherwise containerd is.
	dockerd bool
	// lost says that dockerd misses the OOM under every shim: dockerd reads no event from
	// before its start.
	lost bool
}

// absences are the ways to end. Each container ends at a SIGTERM from the machine, since
// neither daemon can send one.
func absences() []absence {
	oom := testCase{args: []string{"term-hog"}, limit: 24 * mib, ready: "ready", oom: true, status: 137}
	exit := testCase{args: []string{"trap-term", "3"}, limit: 24 * mib, ready: "ready", status: 3}
	named := func(c testCase, name string) testCase {
		c.name, c.silent = name, strings.HasPrefix(name, "dockerd")
		return c
	}
	return []absence{
		{testCase: named(exit, "dockerd-away-exit-3"), dockerd: true},
		{testCase: named(oom, "dockerd-away-oom"), dockerd: true, lost: true},
		{testCase: named(exit, "containerd-away-exit-3")},
		{testCase: named(oom, "containerd-away-oom")},
	}
}

// away runs the containers of all absences at the same time. They start, the daemon is killed,
// they end, the daemon starts again.
func (s *stack) away(t *testing.T, ours bool) {
	for _, c := range absences() {
		t.Run(c.name, func(t *testing.T) {
			f := s.absent(t, c, runs(t))
			report(t, s.pair, ours, c.name, f)
			if ours && !c.lost {
				require.Empty(t, f.wrong)
			}
			if c.lost {
				require.Equal(t, f.n, f.status, "the exit status is not lost")
			}
		})
	}
}

func (s *stack) absent(t *testing.T, c absence, n int) *figures {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []string
	var pids []int
	for range n {
		id, err := s.api.run(ctx, s.runtime, c.testCase)
		require.NoError(t, err)
		require.NoError(t, s.api.said(ctx, id, c.ready))
		now, _, err := s.api.inspect(ctx, id)
		require.NoError(t, err)
		ids, pids = append(ids, id), append(pids, now.Pid)
	}
	if c.dockerd {
		s.kill(s.dockerd)
	} else {
		s.kill(s.containerd)
	}
	for _, pid := range pids {
		require.NoError(t, end(ctx, pid))
	}
	if c.dockerd {
		s.restartDockerd()
	} else {
		s.startContainerd()
	}
	var f figures
	back, cancel := context.WithTimeout(ctx, notice)
	defer cancel()
	for _, id := range ids {
		// A container whose end dockerd does not notice in time is judged by its state then.
		_ = s.over(back, c.testCase, id)
		var o outcome
		var err error
		o.state, o.restarts, err = s.api.inspect(ctx, id)
		require.NoError(t, err)
		o.events = s.events.await(back, id, c.deaths())
		f.add(c.testCase, id, o)
		if !o.state.Running { // dockerd waits long for an end that it missed
			require.NoError(t, s.api.remove(ctx, id))
		}
	}
	return &f
}

// end sends SIGTERM to a process and waits until it has ended.
func end(ctx context.Context, pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 1000)
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("await process %d: %w", pid, err)
		}
	}
	return fmt.Errorf("process %d did not end: %w", pid, ctx.Err())
}
