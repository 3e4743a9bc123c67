package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// changes are the files that one run has changed, as they were before: each is saved
// ahead of its first change, so that a failure on the way can be undone.
type changes struct{ files []savedFile }

// save keeps a file as it is now; path is its real path, and name the path as seen from
// inside the root. A file that is saved already stays as it was then.
func (c *changes) save(path, name string) error {
	if slices.ContainsFunc(c.files, func(f savedFile) bool { return f.path == path }) {
		return nil
	}
	file, err := saveFile(path)
	if err != nil {
		return err
	}
	file.name = name
	// A second link to the file takes no room, and the file can go back onto a full disk.
	if again := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".undo.tmp"); file.there && os.Link(path, again) == nil {
		file.again = again
	}
	c.files = append(c.files, file)
	return nil
}

// keep ends the time in which an undo needs no room: the second links go.
func (c *changes) keep() {
	for i := range c.files {
		c.files[i].drop()
	}
}

// undo puts the files back, the last one first, that are not as they were.
func (c *changes) undo(result *Result) error {
	var failed []error
	for _, file := range slices.Backward(c.files) {
		now, err := saveFile(file.path)
		if err == nil && now.same(file) {
			file.drop()
			file.removeFolders()
			continue
		}
		if err = file.putBack(); err != nil {
			failed = append(failed, fmt.Errorf("undo %s: %w", file.name, err))
			continue
		}
		result.did("undo", file.name)
	}
	*c = changes{}
	return errors.Join(failed...)
}

// savedFile is a file by its real path: its content, or the target of a symbolic
// link, or that there is none.
type savedFile struct {
	path     string
	name     string // as seen from inside the root
	there    bool
	missing  []string // the folders above the file that are not there, the lowest first
	link     string
	again    string // a second link to the file, "" for none
	data     []byte
	mode     fs.FileMode
	uid, gid int
	has      attributes
}

// saveFile reads the file at a real path.
func saveFile(path string) (savedFile, error) {
	file := savedFile{path: path}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		file.missing = missingFolders(path)
		return file, nil
	}
	if err != nil {
		return file, err
	}
	file.there, file.mode = true, info.Mode().Perm()
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		file.uid, file.gid = int(owner.Uid), int(owner.Gid)
	}
	switch info.Mode().Type() {
	case 0:
		if file.data, err = os.ReadFile(path); err == nil {
			file.has, err = readAttributes(path)
		}
	case fs.ModeSymlink:
		file.link, err = os.Readlink(path)
	default:
		err = fmt.Errorf("%s is there and is not a file", path)
	}
	return file, err
}

// with returns a file of the same mode and owner at another path, or with other
// content.
func (f savedFile) with(path string, data []byte) savedFile {
	f.path, f.data = path, data
	return f
}

// same reports whether two saved files have the same kind, mode and content.
func (f savedFile) same(other savedFile) bool {
	return f.there == other.there && f.link == other.link && f.mode == other.mode && bytes.Equal(f.data, other.data)
}

// sameOwner reports whether two saved files have the same owner and attributes.
func (f savedFile) sameOwner(other savedFile) bool {
	return f.uid == other.uid && f.gid == other.gid && maps.EqualFunc(f.has, other.has, bytes.Equal)
}

// put makes the file at its path what it is here.
func (f savedFile) put() error {
	switch {
	case !f.there:
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f.removeFolders()
		return nil
	case f.link != "":
		return relink(f.path, f.link)
	}
	return replaceOwned(f.path, bytesSource(f.data), f.mode, f.uid, f.gid, f.has)
}

// putBack puts a file back, by its second link where there is one: that is the same file to
// the last attribute.
func (f *savedFile) putBack() error {
	if f.again != "" && os.Rename(f.again, f.path) == nil {
		return nil
	}
	f.drop()
	return f.put()
}

// drop removes the second link.
func (f *savedFile) drop() {
	if f.again != "" {
		_ = os.Remove(f.again)
		f.again = ""
	}
}

// missingFolders lists the folders above a path that are not there, the lowest
// first.
func missingFolders(path string) []string {
	var out []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return out
		}
		out = append(out, dir)
	}
}

// removeFolders removes the folders that install made for the file. A pattern such as
// /etc/containerd/* imports a folder too, and containerd does not start then. A
// folder that is not empty by now is somebody's.
func (f savedFile) removeFolders() {
	for _, dir := range f.missing {
		if os.Remove(dir) != nil {
			return
		}
	}
}
