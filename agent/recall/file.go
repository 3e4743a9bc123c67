package recall

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	fileName = "identity"
	nextName = "identity.next"
	// maxSize bounds what is read, in bytes: no file of ours is larger.
	maxSize = 32 << 20
)

// file is where the lines are. Its methods are for one goroutine.
type file struct {
	dir string
	// f is nil before the first renew, and where the last write has failed.
	f           *os.File
	size, begun int64 // now, and after the last renew
}

func (f *file) path(name string) string { return filepath.Join(f.dir, name) }

// read gives what the file says of a boot. damaged are the lines that say nothing
// that can be.
func (f *file) read(boot string) (k knowledge, damaged int, err error) {
	in, err := os.OpenFile(f.path(fileName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return k, 0, nil
	}
	if err != nil {
		return k, 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", in.Name())
	}
	if err != nil {
		return k, 0, err
	}
	return parse(io.LimitReader(in, maxSize), boot)
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
func (f *file) renew(boot string, k knowledge) error {
	f.close()
	next := f.path(nextName)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriterSize(out, 64<<10)
	size, err := k.writeTo(buffer, boot)
	if err == nil {
		err = buffer.Flush()
	}
	if err == nil {
		err = os.Rename(next, f.path(fileName))
	}
	if err != nil {
		return errors.Join(err, out.Close())
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
