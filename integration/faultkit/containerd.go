//go:build linux

// Package faultkit is shared by tests in which containers end while containerd fails. It has
// the faults, the ways and moments to end, and the figures. The tests run in the node's guest.
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

// ContainerdPid returns the pid of the running containerd.
func ContainerdPid() (int, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", pidFile, err)
	}
	// Before its exec the process is the script that starts containerd.
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return 0, err
	}
	if name := strings.TrimSuffix(filepath.Base(exe), " (deleted)"); name != "containerd" {
		return 0, fmt.Errorf("process %d is %s, want containerd", pid, exe)
	}
	return pid, nil
}

// KillContainerd kills containerd, and prevents its start until [Release].
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

// Release permits containerd to start, and returns at once.
func Release(context.Context) error { return os.Remove(holdFile) }

// RestartKilled kills containerd, also a containerd that is still starting. A new one starts at
// once.
func (p *Plan) RestartKilled(ctx context.Context) error {
	if err := Until(ctx, "containerd to be there", func() error { _, err := ContainerdPid(); return err }); err != nil {
		return err
	}
	if err := p.kill(ctx); err != nil {
		return err
	}
	return Release(ctx)
}

func (p *Plan) kill(ctx context.Context) error {
	if err := KillContainerd(ctx); err != nil {
		return err
	}
	p.Gone()
	return nil
}

// Gone calls Away.
func (p *Plan) Gone() {
	if p.Away != nil {
		p.Away()
	}
}

// SignalContainerd returns a function that sends containerd a signal.
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
