package install

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// backupSuffix ends the name of the copy of a file as it was before install edited
// that file; where such a file is there already, a number follows. The name does
// not end in .toml: containerd must not import the copy.
const backupSuffix = ".before-oomwitness"

// backupNames returns what is put behind the name of a file for its last backup, ""
// where there is none, and for the next one.
func backupNames(file string) (last, next string) {
	next = backupSuffix
	for n := 1; ; n++ {
		if _, err := os.Lstat(file + next); err != nil {
			return last, next
		}
		last, next = next, backupSuffix+"."+strconv.Itoa(n)
	}
}

// keepBackup puts the original of a file beside it, under a name that is free. The
// backup of an earlier install is enough where it is the same. A file that is not edited
// yet is linked: that takes no room, and a link to the same file that is there already was
// made by an install that did not come to its end.
func (o Options) keepBackup(result *Result, name string, state savedFile, original []byte) error {
	last, next := backupNames(state.path)
	edited := !bytes.Equal(state.data, original)
	if edited && last != "" && isCopy(state.path+last, original) {
		return nil
	}
	if !edited && last != "" && sameFile(state.path, state.path+last) {
		return nil
	}
	backup := state.path + next
	if err := o.changes.save(backup, name+next); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if edited || os.Link(state.path, backup) != nil {
		if err := state.with(backup, original).put(); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
	}
	result.did("create", name+next)
	return nil
}

// sameFile reports whether two paths are links to one file.
func sameFile(a, b string) bool {
	first, errA := os.Lstat(a)
	second, errB := os.Lstat(b)
	return errA == nil && errB == nil && os.SameFile(first, second)
}

// dropBackup removes the last backup of a file that is again what it was. Every
// other one stays.
func (o Options) dropBackup(result *Result, name, path string, now []byte) error {
	last, _ := backupNames(path)
	if last == "" {
		return nil
	}
	if !isCopy(path+last, now) {
		result.note("%s without the edit differs from %s, which stays", name, name+last)
		return nil
	}
	result.did("remove", name+last)
	if o.DryRun {
		return nil
	}
	if err := o.changes.save(path+last, name+last); err != nil {
		return err
	}
	return os.Remove(path + last)
}

// isCopy reports whether a path is a file, and no symbolic link, of that content.
func isCopy(path string, content []byte) bool {
	file, err := saveFile(path)
	return err == nil && file.there && file.link == "" && bytes.Equal(file.data, content)
}
