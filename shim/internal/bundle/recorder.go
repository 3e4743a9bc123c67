//go:build linux

package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
)

// maxRecord is the size, in bytes, above which a record is written anew, with its last
// line alone. A reader takes no file above maxFile.
const maxRecord = 64 << 10

// Recorder writes the record of a bundle, by one system call for each checkpoint: an
// exit waits for it. Write must not be called concurrently. A Recorder does not wait for
// the disk, which on a node in trouble is slow: the page cache outlives the shim, and
// after a loss of power the bundle is of no use.
type Recorder struct {
	name string
	file atomic.Pointer[os.File] // nil before the first line
	size int64
	// probes are those that the file has.
	probes map[string]json.RawMessage
}

// NewRecorder returns the recorder of a bundle, which begins a new record.
func NewRecorder(dir string) *Recorder { return &Recorder{name: filepath.Join(dir, RecordFile)} }

// Write adds a line. Where that fails, the record is what it was.
func (r *Recorder) Write(rec Record) error {
	probes := rec.Probes
	if maps.EqualFunc(probes, r.probes, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		rec.Probes = nil
	}
	line, err := rec.line()
	if err != nil {
		return err
	}
	if r.file.Load() == nil || r.size+int64(len(line)) > maxRecord {
		rec.Probes = probes
		return r.begin(rec)
	}
	if n, err := r.file.Load().Write(line); err != nil {
		if n > 0 {
			_ = r.file.Load().Truncate(r.size)
		}
		return fmt.Errorf("record of %s: %w", rec.ID, err)
	}
	r.size += int64(len(line))
	r.probes = maps.Clone(probes)
	return nil
}

// begin writes a record of one line.
func (r *Recorder) begin(rec Record) error {
	line, err := rec.line()
	if err != nil {
		return err
	}
	flags, old := os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_TRUNC, r.file.Load()
	if old != nil {
		flags = os.O_WRONLY | os.O_APPEND
		err = ReplaceFile(r.name, line, 0o600)
	}
	var file *os.File
	if err == nil {
		file, err = os.OpenFile(r.name, flags, 0o600)
	}
	if err == nil && old == nil {
		if _, err = file.Write(line); err != nil {
			_ = file.Truncate(0)
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("record of %s: %w", rec.ID, err), closed(file))
	}
	r.file.Store(file)
	r.size, r.probes = int64(len(line)), maps.Clone(rec.Probes)
	return closed(old)
}

func closed(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// Close ends the writing. It may be called concurrently with Write, which then fails.
func (r *Recorder) Close() error { return closed(r.file.Load()) }
