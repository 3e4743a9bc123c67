// Package rootfs finds the files of a system that may be mounted below a
// directory: an image being built, or a host seen from a container.
package rootfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// maxLinks is the kernel's own limit on symbolic links in one lookup
// (MAXSYMLINKS in include/linux/namei.h).
const maxLinks = 40

// Dir is the root directory of a system. The zero value and "/" mean the
// running system.
type Dir string

// Running says whether d is the running system rather than a tree.
func (d Dir) Running() bool {
	return d == "" || filepath.Clean(string(d)) == "/"
}

// Path gives the real path of the absolute path p as seen from inside d.
// Symbolic links are followed inside d, as a process with d as its root would
// follow them, so that an absolute link in an image never leads to the host.
// Components that do not exist are kept as they are. With more than 40 links
// the rest stays unresolved, and opening it fails with the kernel's ELOOP.
func (d Dir) Path(p string) string {
	if d.Running() {
		return path.Clean("/" + p)
	}
	return d.Resolve(p)
}

// Resolve is like Path, and follows the links of the running system too.
func (d Dir) Resolve(p string) string {
	var (
		root  = filepath.Clean(cmp.Or(string(d), "/"))
		done  = "/"
		rest  = strings.Split(path.Clean("/"+p), "/")
		links = 0
	)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		next := path.Join(done, name)
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil || links >= maxLinks {
			done = next
			continue
		}
		links++
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, done)
}

// Entry is like Path, but leaves a symbolic link at p itself unresolved: it
// names the directory entry, for removing and replacing.
func (d Dir) Entry(p string) string {
	p = path.Clean("/" + p)
	return filepath.Join(d.Path(path.Dir(p)), path.Base(p))
}

// ReadFile reads the file p inside d. What is no file is an error: a pipe would hold
// the reader up for ever.
func (d Dir) ReadFile(p string) ([]byte, error) {
	name := d.Path(p)
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is not a regular file")}
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Text reads a small kernel file inside d and trims it. A file that cannot be
// read gives "", which callers take as "the kernel does not say".
func (d Dir) Text(p string) string {
	data, err := d.ReadFile(p)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Exists says whether p is there inside d.
func (d Dir) Exists(p string) bool {
	_, err := os.Stat(d.Path(p))
	return err == nil
}

// Glob lists the paths inside d that match the absolute pattern, sorted, in
// the syntax of [path.Match].
func (d Dir) Glob(pattern string) ([]string, error) {
	root := string(d)
	if d.Running() {
		root = "/"
	}
	matches, err := fs.Glob(os.DirFS(root), strings.TrimPrefix(path.Clean(pattern), "/"))
	for i := range matches {
		matches[i] = "/" + matches[i]
	}
	return matches, err
}

// IsExecutable says whether p is a regular file inside d that somebody may
// execute.
func (d Dir) IsExecutable(p string) bool {
	info, err := os.Stat(d.Path(p))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// LookPath finds the executable name in dirs inside d and gives its path as
// seen from inside, or "" where there is none. A name with a slash is looked
// at as it is.
func (d Dir) LookPath(name string, dirs []string) string {
	if strings.Contains(name, "/") {
		if d.IsExecutable(name) {
			return name
		}
		return ""
	}
	for _, dir := range dirs {
		if p := path.Join("/", dir, name); d.IsExecutable(p) {
			return p
		}
	}
	return ""
}
