package install

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// attributes are the extended attributes of a file (xattr(7)): among them its ACL and
// its SELinux label.
type attributes map[string][]byte

// readAttributes returns the attributes of the file at a path, none if its file system has
// none.
func readAttributes(path string) (attributes, error) {
	names, err := sized(func(into []byte) (int, error) { return unix.Llistxattr(path, into) })
	if err != nil {
		return nil, fmt.Errorf("list the extended attributes of %s: %w", path, err)
	}
	out := attributes{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := sized(func(into []byte) (int, error) { return unix.Lgetxattr(path, name, into) })
		if err != nil {
			return nil, fmt.Errorf("read the extended attribute %s of %s: %w", name, path, err)
		}
		out[name] = value
	}
	return out, nil
}

// sized calls read for the size first, and then for the data.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	size, err := read(nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	size, err = read(data)
	return data[:max(0, size)], err
}

// set sets the attributes that a file does not have yet.
func (a attributes) set(file *os.File) error {
	for name, value := range a {
		have, err := sized(func(into []byte) (int, error) { return unix.Fgetxattr(int(file.Fd()), name, into) })
		if err == nil && bytes.Equal(have, value) && len(value) > 0 {
			continue
		}
		if err := unix.Fsetxattr(int(file.Fd()), name, value, 0); err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}
