//go:build !no_loader

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Unload takes the ledger away, at once for its readers. Kills from then on are
// known by the cgroups' counters alone. It is no error if there was none.
func Unload(dir, lockDir string) error {
	o := Options{Dir: dir, LockDir: lockDir}.withDefaults()
	lock, err := takeLock(o.LockDir, lockName, o.Wait)
	if err != nil {
		return err
	}
	defer release(lock)
	if err := unload(o.Dir); err != nil {
		return fmt.Errorf("unload the OOM ledger: %w", permission(err))
	}
	return nil
}

// unload removes the ledger in dir, and dir if nothing else is in dir. dir may be anybody's
// folder: unload removes links and generations alone, and those on a BPF file system alone.
//
// Preconditions: the lock is held.
func unload(dir string) error {
	ok, err := onBPFFS(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%s %w", dir, ErrNotBPFFS)
	}
	if err := rootsAlone(dir); err != nil {
		return err
	}
	old, err := openOld(dir)
	if err != nil {
		return err
	}
	defer old.close()
	if old != nil {
		if err := setState(old.maps[mapMeta], stateRetired); err != nil {
			return err
		}
	}
	for _, name := range []string{currentName, nextName} {
		if err := removeLink(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if err := removeStale(dir, ""); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// removeLink removes a symbolic link, if there is one of that name.
func removeLink(path string) error {
	if _, err := os.Readlink(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return os.Remove(path)
}
