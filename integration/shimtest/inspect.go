//go:build linux

package shimtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Pid returns the PID of the shim.
func (s *Shim) Pid() int { return s.pid }

// Logs returns what the shim has logged so far. The log is in the bundle for which the shim was
// started; other containers of its sandbox have none.
func (s *Shim) Logs() string { return s.Bundle.log.String() }

// WaitLog waits until the shim's log contains text.
func (s *Shim) WaitLog(ctx context.Context, text string) error {
	_, err := s.Bundle.log.wait(ctx, func(log string) bool { return strings.Contains(log, text) })
	if err != nil {
		return fmt.Errorf("wait for %q in the shim's log: %w", text, err)
	}
	return nil
}

// Signal sends a signal to the shim.
func (s *Shim) Signal(signal unix.Signal) error {
	return unix.PidfdSendSignal(s.pidfd, signal, nil, 0)
}

// Kill ends the shim with SIGKILL and waits until it is gone.
func (s *Shim) Kill(ctx context.Context) error {
	if err := s.Signal(unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill shim: %w", err)
	}
	return s.WaitExit(ctx)
}

// KillMidCall ends the shim with SIGKILL, and with it the shim's held calls to the endpoint:
// none of these is accepted any more.
func (s *Shim) KillMidCall(ctx context.Context) error {
	err := s.Kill(ctx)
	s.Bundle.node.Events.CloseConnections()
	return err
}

// WaitExit waits until the shim process has ended.
func (s *Shim) WaitExit(ctx context.Context) error {
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(s.pidfd), Events: unix.POLLIN}}, 50)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("poll pidfd: %w", err)
		case ready > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the shim to end: %w", ctx.Err())
		}
	}
}

// stop ends the shim at the end of the test.
func (s *Shim) stop() error {
	_ = s.Disconnect()
	ctx, cancel := timeout()
	defer cancel()
	return errors.Join(s.Kill(ctx), unix.Close(s.pidfd))
}

// FDs returns what the shim's file descriptors refer to.
func (s *Shim) FDs() ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", s.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var fds []string
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // the descriptor was closed meanwhile
		}
		if err != nil {
			return nil, err
		}
		fds = append(fds, target)
	}
	return fds, nil
}

var stackDump = regexp.MustCompile(`msg=("=== BEGIN goroutine stack dump ===.*?=== END goroutine stack dump ===")`)

// Goroutines makes the shim dump its goroutines (SIGUSR1), and returns the stack of each.
func (s *Shim) Goroutines(ctx context.Context) ([]string, error) {
	before := len(stackDump.FindAllString(s.Logs(), -1))
	if err := s.Signal(unix.SIGUSR1); err != nil {
		return nil, fmt.Errorf("signal shim: %w", err)
	}
	log, err := s.Bundle.log.wait(ctx, func(log string) bool {
		return len(stackDump.FindAllString(log, -1)) > before
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the goroutine dump: %w", err)
	}
	text, err := strconv.Unquote(stackDump.FindAllStringSubmatch(log, -1)[before][1])
	if err != nil {
		return nil, fmt.Errorf("goroutine dump: %w", err)
	}
	stacks := strings.Split(text, "\n\n")
	for i := range stacks {
		stacks[i] = strings.TrimPrefix(stacks[i], "=== BEGIN goroutine stack dump ===\n")
	}
	return stacks, nil
}

// timeout returns a context for one step of the harness itself.
func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}
