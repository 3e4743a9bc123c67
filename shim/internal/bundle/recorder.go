//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxRecord is the size, in bytes, above which a record is written anew, with its last
// line alone. A reader takes no file above maxFile.
const maxRecord = 64 << 10

// Recorder writes the record of a bundle, by three system calls for each checkpoint: an
// exit waits for it. Write must not be called concurrently. A Recorder does not wait for
// the disk, which on a node in trouble is slow: the page cache outlives the shim, and
// after a loss of power the bundle is of no use.
type Recorder struct {
	name   string
	size   int64                      // 0 before the first line
	probes map[string]json.RawMessage // those that the file has
}

// NewRecorder returns the recorder of a bundle, which begins a new record.
func NewRecorder(dir string) *Recorder { return &Recorder{name: filepath.Join(dir, RecordFile)} }

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
	if r.size+int64(len(line)) > maxRecord {
		rec.Probes = probes
		if line, err = rec.line(); err != nil {
			return err
		}
		if err = ReplaceFile(r.name, line, 0o600); err == nil {
			r.size = 0
		}
	} else {
		err = r.add(line)
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	r.size += int64(len(line))
	r.probes = maps.Clone(probes)
	return nil
}

// add appends a line to the file, which the first line makes.
func (r *Recorder) add(line []byte) error {
	flags := unix.O_WRONLY | unix.O_APPEND | unix.O_CLOEXEC
	if r.size == 0 {
		flags |= unix.O_CREAT | unix.O_TRUNC
	}
	fd, err := unix.Open(r.name, flags, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: r.name, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // what was written is in the page cache
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
