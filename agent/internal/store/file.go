package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openFile opens a file for reading. It does not wait, whatever is there. The error is
// fs.ErrNotExist where nothing is.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// renewFile makes a new file at next, has it filled, and renames it over the one at
// path: that is there as it was, or whole. The new one is open to be added to; size
// is what fill gives, in bytes. It is for one goroutine per path.
func renewFile(path, next string, fill func(*os.File) (size int64, err error)) (f *os.File, size int64, err error) {
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	f, err = os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err = fill(f)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		// A part of a file would take the last room on a full disk from another file.
		return nil, 0, errors.Join(err, f.Close(), os.Remove(next))
	}
	return f, size, nil
}

var errLong = errors.New("line too long")

// readLine returns a line without its end; io.EOF for what has none, and errLong for one of
// more than most bytes.
func readLine(in *bufio.Reader, most int) ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(text)+len(part) > most; !long {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return nil, err
		case long:
			return nil, errLong
		}
		return bytes.TrimSuffix(text, []byte("\n")), nil
	}
}
