//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// maxRecord is the size, in bytes, above which a record is written anew, with its last
// line alone. A reader takes no file above maxFile.
const maxRecord = 64 << 10

// Recorder writes the record of a bundle, by three system calls for each checkpoint: an
// exit waits for it. From the exit on the file stays open until Close: an exit waits
// for the verdict's line as well. Write must not be called concurrently. A Recorder does not wait for
// the disk, which on a node in trouble is slow: the page cache outlives the shim, and
// after a loss of power the bundle is of no use.
type Recorder struct {
	name   string
	size   int64                      // 0 before the first line
	probes map[string]json.RawMessage // those that the file has

	// mu guards what follows. It is never held over a system call on the file.
	mu     sync.Mutex
	fd     int // of the open file, noFile where it is closed
	closed bool
}

// noFile is no descriptor.
const noFile = -1

// NewRecorder returns the recorder of a bundle, which begins a new record.
func NewRecorder(dir string) *Recorder {
	return &Recorder{name: filepath.Join(dir, RecordFile), fd: noFile}
}

// Close closes the file where it is open. Write opens the file again.
func (r *Recorder) Close() { closeFile(r.swap(noFile, true)) }

// swap puts a descriptor in the place of the one that is kept, and returns that.
func (r *Recorder) swap(fd int, closed bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = r.closed || closed
	kept := r.fd
	r.fd = fd
	return kept
}

// keep keeps the descriptor until the next Write, unless the recorder was closed meanwhile.
func (r *Recorder) keep(fd int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		defer closeFile(fd)
		return
	}
	r.fd = fd
}

// closeFile closes a descriptor, if it is one. What was written is in the page cache.
func closeFile(fd int) {
	if fd != noFile {
		_ = unix.Close(fd)
	}
}

// Write adds a line. Where that fails, the record is what it was.
func (r *Recorder) Write(rec Record) error {
	probes := rec.Probes
	if r.size > 0 && maps.EqualFunc(probes, r.probes, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		rec.Probes = nil
	}
	line, err := rec.line()
	if err != nil {
		return err
	}
	fd := r.swap(noFile, false)
	if r.size+int64(len(line)) > maxRecord {
		closeFile(fd)
		rec.Probes = probes
		if line, err = rec.line(); err != nil {
			return err
		}
		if err = ReplaceFile(r.name, line, 0o600); err == nil {
			r.size = 0
		}
	} else {
		err = r.add(fd, line, rec.Status != nil)
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	r.size += int64(len(line))
	r.probes = maps.Clone(probes)
	return nil
}

// open opens the file, which the first line makes.
func (r *Recorder) open() (int, error) {
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC
	if r.size == 0 {
		flags |= unix.O_CREAT | unix.O_TRUNC
	}
	fd, err := unix.Open(r.name, flags, 0o600)
	if err != nil {
		return noFile, &os.PathError{Op: "open", Path: r.name, Err: err}
	}
	return fd, nil
}

// add appends a line to the file, and keeps the file open if another line may follow.
func (r *Recorder) add(fd int, line []byte, more bool) (err error) {
	if fd == noFile {
		if fd, err = r.open(); err != nil {
			return err
		}
	}
	if more {
		defer r.keep(fd)
	} else {
		defer closeFile(fd)
	}
	n, err := unix.Write(fd, line)
	if err == nil && n < len(line) {
		err = unix.ENOSPC
	}
	if err != nil {
		_ = unix.Ftruncate(fd, r.size)
		return &os.PathError{Op: "write", Path: r.name, Err: err}
	}
	return nil
}
