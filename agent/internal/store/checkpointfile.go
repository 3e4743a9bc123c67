package store

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
)

const (
	checkpointName = "checkpoint"
	checkpointNext = "checkpoint.next"
	// maxCheckpoint bounds what is read, in bytes: no file of ours is larger.
	maxCheckpoint = 32 << 20
)

// file is where the lines are. Its methods are for one goroutine.
type file struct {
	dir string
	// f is nil before the first renew, and where the last write has failed.
	f           *os.File
	size, begun int64 // now, and after the last renew
}

func (f *file) path(name string) string { return filepath.Join(f.dir, name) }

// read returns what the file says of a boot. damaged are the lines that say nothing
// that can be.
func (f *file) read(boot string) (list []cgroups.Known, damaged int, err error) {
	in, err := openFile(f.path(checkpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer in.Close()
	return parseKnown(io.LimitReader(in, maxCheckpoint), boot)
}

func (f *file) grown() bool { return f.f == nil || f.size > f.begun+max(f.begun, mayGrow) }

// add writes lines to the end.
func (f *file) add(lines []byte) error {
	n, err := f.f.Write(lines)
	f.size += int64(n)
	if err != nil {
		f.close()
	}
	return err
}

// renew writes a new file, and goes on in that.
func (f *file) renew(boot string, list []cgroups.Known) error {
	f.close()
	out, size, err := renewFile(f.path(checkpointName), f.path(checkpointNext), func(out *os.File) (int64, error) {
		buffer := bufio.NewWriterSize(out, 64<<10)
		size, err := writeKnown(buffer, boot, list)
		if err != nil {
			return 0, err
		}
		return size, buffer.Flush()
	})
	if err != nil {
		return err
	}
	f.f, f.size, f.begun = out, size, size
	return nil
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
	}
	f.f = nil
}
