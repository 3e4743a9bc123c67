package cgroups

import (
	"errors"
	"io/fs"
	"syscall"
)

// Skipped returns how many cgroups the newest walk could not read: one with a mode
// that keeps the agent out, or with a path longer than the kernel takes in one call
// (PATH_MAX). What is below such a cgroup has no name.
func (t *Tree) Skipped() int { return t.skipped }

// skip counts a cgroup that can't be read, unless the cgroup was removed.
func (t *Tree) skip(err error) {
	if !removed(err) {
		t.skipped++
	}
}

// removed reports whether an error means that a cgroup was removed while it was read.
func removed(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}

// Skipped returns how many cgroups could not be read since the newest walk began, see
// Tree.Skipped. They are tried again each minute.
func (w *Watcher) Skipped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tree.skipped
}

// retryLocked walks the tree again if a cgroup could not be read: no event tells that
// it can be by now.
func (w *Watcher) retryLocked() {
	if w.tree.skipped > 0 && w.scanLocked() != nil {
		w.whole = false
	}
}
