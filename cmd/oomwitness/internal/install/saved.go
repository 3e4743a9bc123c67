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

// saved are files as they were before install changed them.
type saved []savedFile

// savedFile is a file by its real path: its content, or the target of a symbolic
// link, or that there is none.
type savedFile struct {
	path     string
	name     string // as seen from inside the root
	there    bool
	missing  []string // the folders above the file that are not there, the lowest first
	link     string
	data     []byte
	mode     fs.FileMode
	uid, gid int
	has      attributes
}

// save reads the drop-in and files of the owner that are about to change, with their
// backups.
func (o Options) save(names ...string) (saved, error) {
	var out saved
	files := map[string]string{o.dropinPath(): o.Root.Entry(o.dropinPath())}
	for _, name := range names {
		files[name] = o.real(name)
		last, next := backupNames(o.real(name))
		files[name+last], files[name+next] = o.real(name)+last, o.real(name)+next
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		file, err := saveFile(files[name])
		if err != nil {
			return nil, err
		}
		file.name = name
		out = append(out, file)
	}
	return out, nil
}

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

// restore puts the files back that are not as they were.
func (s saved) restore(result *Result, dryRun bool) error {
	if dryRun {
		return nil
	}
	var failed []error
	for _, file := range s {
		now, err := saveFile(file.path)
		if err == nil && now.same(file) {
			file.removeFolders()
			continue
		}
		if err := file.put(); err != nil {
			failed = append(failed, fmt.Errorf("undo %s: %w", file.name, err))
			continue
		}
		result.did("undo", file.name)
	}
	return errors.Join(failed...)
}

func (f savedFile) same(other savedFile) bool {
	return f.there == other.there && f.link == other.link && f.mode == other.mode && bytes.Equal(f.data, other.data)
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
