package exits

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// DefaultDir is the folder of the spool.
	DefaultDir = "/run/oomwitness/exits"

	// MaxFile bounds each of the spool's two files, in bytes: some 700 exits. The spool
	// takes twice as much at most.
	MaxFile = 512 << 10

	currentFile  = "current"
	previousFile = "previous"
)

// Files returns the files that a spool in dir can have.
func Files(dir string) []string {
	return []string{filepath.Join(dir, previousFile), filepath.Join(dir, currentFile)}
}

// Append adds an exit to the spool in dir, which is made if need be. A file that is full
// becomes the previous one, and the exits of the file before it are gone. Append may be
// called by many processes at once: the kernel adds each line whole.
func Append(dir string, e Exit) error {
	line, err := e.line()
	if err == nil {
		err = appendLine(dir, line)
	}
	if err != nil {
		return fmt.Errorf("spool the exit: %w", err)
	}
	return nil
}

// AppendMissing adds an exit that its shim may have added to the spool before the shim died:
// a container run has one exit.
func AppendMissing(dir string, e Exit) error {
	there, err := has(dir, &e)
	if there {
		return nil
	}
	return errors.Join(err, Append(dir, e))
}

func appendLine(dir string, line []byte) error {
	path := filepath.Join(dir, currentFile)
	fd, err := openCurrent(path)
	if errors.Is(err, unix.ENOENT) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			fd, err = openCurrent(path)
		}
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // what was written stands
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size+int64(len(line)) > MaxFile {
		renamed, err := retire(fd, dir, &st)
		if err != nil || renamed {
			return errors.Join(err, again(renamed, dir, line))
		}
	}
	n, err := unix.Write(fd, line)
	if err == nil && n < len(line) {
		err = errors.Join(unix.ENOSPC, takeBack(fd, st.Size, n))
	}
	return err
}

// takeBack removes a part of a line, which was written at an offset to a full disk: the next
// line would begin in that part, and be damaged too. If others have written since, the part stays.
func takeBack(fd int, offset int64, written int) error {
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Size != offset+int64(written) {
		return err
	}
	return unix.Ftruncate(fd, offset)
}

// again appends to the new file.
func again(renamed bool, dir string, line []byte) error {
	if !renamed {
		return nil
	}
	return appendLine(dir, line)
}

func openCurrent(path string) (int, error) {
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	for {
		fd, err := unix.Open(path, flags, 0o600)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// retire makes the current file the previous one. It reports whether there is another
// current file now: also where another process was first. Where another process is just
// about to rename, the line goes to the full file.
func retire(fd int, dir string, st *unix.Stat_t) (renamed bool, err error) {
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, nil //nolint:nilerr // another process renames the file
	}
	path := filepath.Join(dir, currentFile)
	var now unix.Stat_t
	if err := unix.Lstat(path, &now); err == nil && (now.Ino != st.Ino || now.Dev != st.Dev) {
		return true, nil
	}
	if err := unix.Rename(path, filepath.Join(dir, previousFile)); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, err
	}
	return true, nil
}
