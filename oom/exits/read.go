package exits

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// maxRead bounds what is read of one file: a line may be added to a full file while
// another process renames that file.
const maxRead = 2 * MaxFile

// Read returns the exits in the spool, oldest first, each once. damaged counts lines that
// could not be read. A folder that does not exist has no exits, and the error is
// fs.ErrNotExist.
func Read(dir string) (list []Exit, damaged int, err error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, 0, fmt.Errorf("read the spool of exits: %w", err)
	}
	known := map[Key]bool{}
	for _, name := range []string{previousFile, currentFile} {
		text, err := readFrom(filepath.Join(dir, name), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, fmt.Errorf("read the spool of exits: %w", err)
		}
		some, bad := ParseAll(text)
		damaged += bad
		for _, e := range some {
			if !known[e.Key()] {
				known[e.Key()] = true
				list = append(list, e)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Exit) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	return list, damaged, nil
}

// has reports whether the spool has an exit of the same container run. The current file is
// read first: it may become the previous one in between.
func has(dir string, e *Exit) (bool, error) {
	id, err := json.Marshal(e.ID)
	if err != nil {
		return false, err
	}
	for _, name := range []string{currentFile, previousFile} {
		text, err := readFrom(filepath.Join(dir, name), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("read the spool of exits: %w", err)
		}
		for line := range bytes.Lines(text) {
			if !bytes.Contains(line, id) {
				continue
			}
			if other, err := parse(line); err == nil && other.SameRun(e) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Tail reads what is added to a spool. It is not for concurrent use.
type Tail struct {
	Dir string

	file   *os.File // the current one: while it is open no other file gets its inode number
	ino    uint64   // of it
	offset int64    // up to which it was read
}

// Next returns the exits that were added since the last call, and at the first call all.
// gap is true if exits before the first of them may be missing: the spool was written over
// twice since the last call, or once before the first.
func (t *Tail) Next() (list []Exit, damaged int, gap bool, err error) {
	current := filepath.Join(t.Dir, currentFile)
	var st unix.Stat_t
	switch err := unix.Lstat(current, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil, 0, false, nil // between two files, or there was no exit yet
	case err != nil:
		return nil, 0, false, fmt.Errorf("read the spool of exits: %s: %w", current, err)
	case st.Ino == t.ino && st.Size == t.offset:
		return nil, 0, false, nil
	}
	var text []byte
	if st.Ino != t.ino {
		text, gap, err = t.follow(current)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, 0, false, nil // between two files
		}
		if err != nil {
			return nil, 0, false, err
		}
	}
	added, err := readOpen(t.file, t.offset)
	if err != nil {
		return nil, 0, gap, fmt.Errorf("read the spool of exits: %w", err)
	}
	whole := bytes.LastIndexByte(added, '\n') + 1
	t.offset += int64(whole)
	list, damaged = ParseAll(append(text, added[:whole]...))
	return list, damaged, gap, nil
}

// follow goes on with another file, and returns the rest of the one before.
func (t *Tail) follow(current string) (text []byte, gap bool, err error) {
	file, err := openRegular(current)
	if err != nil {
		return nil, false, fmt.Errorf("read the spool of exits: %w", err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(file.Fd()), &st); err == nil {
		text, gap, err = t.rest()
	}
	if err != nil {
		return nil, false, errors.Join(err, file.Close())
	}
	if t.file != nil {
		_ = t.file.Close() // nothing was written
	}
	t.file, t.ino, t.offset = file, st.Ino, 0
	return text, gap, nil
}

// rest returns what was added to the file that is now the previous one, all of that file
// with a gap if it is not the one that was read.
func (t *Tail) rest() (text []byte, gap bool, err error) {
	path := filepath.Join(t.Dir, previousFile)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, false, nil //nolint:nilerr // there is none yet
	}
	from := int64(0)
	if st.Ino == t.ino {
		from = t.offset
	}
	text, err = readFrom(path, from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("read the spool of exits: %w", err)
	}
	return append(text, '\n'), st.Ino != t.ino, nil
}

func readFrom(path string, offset int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readOpen(f, offset)
}

func readOpen(f *os.File, offset int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, offset, maxRead))
}

func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, f.Close(), fmt.Errorf("%s is not a regular file", path))
	}
	return f, nil
}
