//go:build linux

// Package faultkit is what tests share that have containers end while containerd
// fails: the faults, the ways and moments to end, and the figures. They run in
// the node's guest.
package faultkit

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

// ContainerdPid is the pid of the containerd that runs.
func ContainerdPid() (int, error) {
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

// KillContainerd kills it, and keeps it away until [Release].
func KillContainerd(ctx context.Context) (err error) {
	if err := os.WriteFile(holdFile, nil, 0o644); err != nil {
		return err
	}
	pid, err := ContainerdPid()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("containerd %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("kill containerd %d: %w", pid, err)
	}
	return Ended(ctx, fd)
}

// Release lets containerd start, and comes back at once.
func Release(context.Context) error { return os.Remove(holdFile) }

// RestartKilled kills containerd, also one that is still starting, and lets it
// start again at once.
func RestartKilled(ctx context.Context) error {
	if err := Until(ctx, "containerd to be there", func() error { _, err := ContainerdPid(); return err }); err != nil {
		return err
	}
	if err := KillContainerd(ctx); err != nil {
		return err
	}
	return Release(ctx)
}

// SignalContainerd sends it a signal.
func SignalContainerd(sig unix.Signal) func(context.Context) error {
	return func(context.Context) error {
		pid, err := ContainerdPid()
		if err != nil {
			return err
		}
		return unix.Kill(pid, sig)
	}
}

// Ended waits until the process of a pidfd has ended.
func Ended(ctx context.Context, fd int) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		got, err := unix.Poll(fds, 1000)
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
