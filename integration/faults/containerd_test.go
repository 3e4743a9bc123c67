//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// holdFile keeps the guest's init from starting containerd again.
	holdFile = "/run/containerd.hold"
	pidFile  = "/run/containerd.pid"
)

// containerdPid is the pid of the containerd that runs.
func containerdPid() (int, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", pidFile, err)
	}
	// Until exec the process is the script that starts it.
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	if name := strings.TrimSuffix(filepath.Base(exe), " (deleted)"); name != "containerd" {
		return 0, fmt.Errorf("process %d is %s, want containerd", pid, exe)
	}
	return pid, nil
}

// killContainerd kills it, and keeps it away until [release].
func killContainerd(ctx context.Context) error {
	if err := os.WriteFile(holdFile, nil, 0o644); err != nil {
		return err
	}
	pid, err := containerdPid()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("containerd %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill containerd %d: %w", pid, err)
	}
	return ended(ctx, fd)
}

// release lets containerd start, and comes back at once.
func release(context.Context) error { return os.Remove(holdFile) }

// restartKilled kills containerd, also one that is still starting, and lets it
// start again at once.
func restartKilled(ctx context.Context) error {
	if err := until(ctx, "containerd to be there", func() error { _, err := containerdPid(); return err }); err != nil {
		return err
	}
	if err := killContainerd(ctx); err != nil {
		return err
	}
	return release(ctx)
}

func signalContainerd(sig unix.Signal) func(context.Context) error {
	return func(context.Context) error {
		pid, err := containerdPid()
		if err != nil {
			return err
		}
		return unix.Kill(pid, sig)
	}
}

// ended waits until the process of a pidfd has ended.
func ended(ctx context.Context, fd int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		got, err := unix.Poll(fds, int(poll.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("poll pidfd: %w", err)
		case got > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}
