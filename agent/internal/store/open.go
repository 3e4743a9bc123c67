package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another agent has the state directory.
var ErrBusy = errors.New("another agent uses it")

// Open reads the journal in dir, which it makes if need be, and begins a new
// one. boot is /proc/sys/kernel/random/boot_id: what was seen in another boot
// says nothing of this one's processes. now is when counting began where there
// is no journal yet, and fresh says so. damaged are the lines that could not be
// read: they are left out, as is what a crash of the node cut off.
//
// A directory that can't be read or written is no error: Err says why, counts are kept
// in memory, and each write and Retry try again. The one error is ErrBusy.
func Open(dir, boot string, now time.Time) (j *Journal, fresh bool, damaged int, err error) {
	j = &Journal{dir: dir, state: newState(boot, now)}
	if err := j.lockLocked(); errors.Is(err, ErrBusy) { // nobody else has it yet
		return nil, false, 0, fmt.Errorf("state directory %s: %w", dir, err)
	}
	if damaged, err = j.read(boot, now); err != nil {
		j.unread = true
	}
	if j.err = j.renewLocked(); j.err == nil {
		j.err = err // what was there is lost until the next write
	}
	return j, j.state.empty(), damaged, nil
}

// Retry tries to write again what could not be written, and returns what Err does.
func (j *Journal) Retry() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil && !j.closed {
		j.err = j.tryLocked(nil)
	}
	return j.err
}

// lockLocked makes the directory and locks it, unless that was done.
func (j *Journal) lockLocked() error {
	if j.lock != nil {
		return nil
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	var err error
	j.lock, err = lock(j.path(lockName))
	return err
}

// read reads what an earlier agent has left, if there was one.
func (j *Journal) read(boot string, now time.Time) (damaged int, err error) {
	f, err := openFile(j.path(fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	if j.state, damaged, err = parse(f, boot, now); err != nil {
		return damaged, fmt.Errorf("journal: read it: %w", err)
	}
	return damaged, nil
}

func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, unix.EROFS) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, err
	}
	return f, nil
}
