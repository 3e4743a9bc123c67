//go:build linux

// Package bundle reads and writes what the shim has in a bundle, beside containerd and
// runc: the record of a container run, the OCI spec as far as the shim reads the spec,
// and the program to run when the shim is dead.
package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a file in a bundle, in bytes.
const maxFile = 1 << 20

// ReadFile reads a regular file; anything else could block its reader.
func ReadFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return nil, fmt.Errorf("%s: mode %v and %d bytes, allowed: a regular file of %d bytes", name, fi.Mode(), fi.Size(), maxFile)
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// ReplaceFile puts a file in the place of another in one step, or leaves that as
// it was.
func ReplaceFile(name string, data []byte, mode os.FileMode) error {
	err := os.WriteFile(name+".new", data, mode)
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		_ = os.Remove(name + ".new")
	}
	return err
}

// binaryFile is containerd's note of the program to run for a bundle whose shim
// is dead (core/runtime/v2/shim_load.go).
const binaryFile = "shim-binary-path"

// NoteBinary writes the note of the program where containerd has not: in the bundle of
// a container that joins a pod's shim. Without the note a containerd that has been
// restarted runs the stock shim's program, by the runtime's type, and that knows of no
// OOM.
func NoteBinary(dir string) error {
	program, err := program()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, binaryFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(program)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name()) // a part of a path names no program, and would stay
	}
	return err
}

// program returns what containerd has noted for the container that the shim was started
// for: the shim works in that container's bundle. The noted path can be a symbolic link.
// Its target may be another one after an upgrade, so the path of this process is second
// best: containerd removes a bundle whose program is gone.
func program() ([]byte, error) {
	if noted, err := ReadFile(binaryFile); err == nil && len(noted) > 0 {
		return noted, nil
	}
	path, err := os.Executable()
	return []byte(path), err
}
