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

// keepBackup puts the original of a file beside base, under a name that is free. The
// backup of an earlier install is enough where it is the same. A file that is not edited
// yet is linked: that takes no room, and a link to the same file that is there already was
// made by an install that did not come to its end.
func (o Options) keepBackup(result *Result, base string, state savedFile, original []byte) error {
	last, next := backupNames(base)
	edited := !bytes.Equal(state.data, original)
	if last != "" && (edited && isCopy(base+last, original) || !edited && sameFile(state.path, base+last)) {
		return nil
	}
	backup := base + next
	result.did("create", o.seen(backup))
	if o.DryRun {
		return nil
	}
	if err := o.changes.save(backup, o.seen(backup)); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if edited || os.Link(state.path, backup) != nil {
		if err := state.with(backup, original).put(); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
	}
	return nil
}

// restore takes an edit out of a file, and removes the backup beside base. If the backup is the
// file as it was, its rename does both in one step: a killed uninstall leaves no backup then.
func (o Options) restore(result *Result, name, base string, edited savedFile, text []byte) error {
	result.did("update", name)
	before, last := edited.with(edited.path, text), ""
	if base == edited.path {
		last, _ = backupNames(base)
	}
	backup, err := saveFile(base + last)
	renamed := last != "" && err == nil && backup.same(before) && backup.sameOwner(before)
	if !o.DryRun {
		if err := o.changes.save(edited.path, name); err != nil {
			return err
		}
		if !renamed {
			err = before.put()
		} else if err = o.changes.save(backup.path, o.seen(backup.path)); err == nil {
			err = moveTo(edited.path, backup.path)
		}
		if err != nil {
			return err
		}
	}
	if renamed {
		result.did("remove", o.seen(backup.path))
		return nil
	}
	return o.dropBackup(result, name, base, text)
}

// dropLinked removes a backup beside base that is the file itself: install was killed before the
// edit.
func (o Options) dropLinked(result *Result, path, base string) error {
	if last, _ := backupNames(base); last != "" && sameFile(path, base+last) {
		return o.remove(result, o.seen(base+last))
	}
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
func (o Options) dropBackup(result *Result, name, base string, now []byte) error {
	last, _ := backupNames(base)
	switch {
	case last == "":
		return nil
	case !isCopy(base+last, now):
		result.note("%s without the edit differs from %s, which stays", name, o.seen(base+last))
		return nil
	}
	return o.remove(result, o.seen(base+last))
}

// isCopy reports whether a path is a file, and no symbolic link, of that content.
func isCopy(path string, content []byte) bool {
	file, err := saveFile(path)
	return err == nil && file.there && file.link == "" && bytes.Equal(file.data, content)
}
