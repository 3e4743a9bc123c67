//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxRecord is the size, in bytes, above which a record is written anew, with its last
// line alone. A reader takes no file above maxFile.
const maxRecord = 64 << 10

// Recorder writes the record of a bundle, by three system calls for each checkpoint: an
// exit waits for it. From the exit on the file stays open until Close: an exit waits for the
// verdict's line as well. Write must not be called concurrently, but Close may be. A Recorder
// does not wait for the disk, which on a node in trouble is slow: the page cache outlives the
// shim, and after a loss of power the bundle is of no use.
type Recorder struct {
	name   string
	size   int64                      // 0 before the first line
	probes map[string]json.RawMessage // those that the file has

	fd atomic.Int64 // of the open file, or one of these:
}

const (
	noFile   = -1 // the file is not open
	lastFile = -2 // nor is it kept open any more
)

// NewRecorder returns the recorder of a bundle, which begins a new record.
func NewRecorder(dir string) *Recorder {
	r := &Recorder{name: filepath.Join(dir, RecordFile)}
	r.fd.Store(noFile)
	return r
}

// Close closes the file where it is open. A later Write opens and closes the file.
func (r *Recorder) Close() { closeFile(int(r.fd.Swap(lastFile))) }

// take returns the descriptor that is kept, for its caller alone, or noFile.
func (r *Recorder) take() int {
	fd := r.fd.Load()
	if fd < 0 || !r.fd.CompareAndSwap(fd, noFile) { // or Close has it
		return noFile
	}
	return int(fd)
}

// keep keeps the descriptor until the next Write, unless the recorder was closed meanwhile.
func (r *Recorder) keep(fd int) {
	if !r.fd.CompareAndSwap(noFile, int64(fd)) {
		closeFile(fd)
	}
}

// closeFile closes a descriptor, if it is one. What was written is in the page cache.
func closeFile(fd int) {
	if fd >= 0 {
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
	fd := r.take()
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
