package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultLockDir holds the lock files. They are not beside the pins, since the
// BPF filesystem has no files of its own.
const DefaultLockDir = "/run/oomwitness"

// RefusedFile is where a shim notes why the ledger could not be loaded.
const RefusedFile = DefaultLockDir + "/refused"

const lockPoll = 5 * time.Millisecond

// takeLock takes an exclusive file lock, which ends with the process, and waits
// for it that long at most: ErrBusy.
func takeLock(dir, name string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, permission(fmt.Errorf("lock the OOM ledger: %w", err))
	}
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, permission(fmt.Errorf("lock the OOM ledger: %w", err))
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(lockPoll) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrBusy
			}
			return nil, fmt.Errorf("lock the OOM ledger: %s: %w", path, err)
		}
	}
}

// release ends the lock. A child that another goroutine just forked has a copy of the
// descriptor until its execve: to close the file alone would leave the lock to that child.
func release(lock *os.File) {
	_ = unix.Flock(int(lock.Fd()), unix.LOCK_UN)
	_ = lock.Close()
}
