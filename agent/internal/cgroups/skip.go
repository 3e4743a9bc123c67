package cgroups

import (
	"errors"
	"io/fs"
	"syscall"
)

// Skipped returns how many cgroups the newest walk left out: one with a mode that keeps
// the agent out, with a path longer than the kernel takes in one call (PATH_MAX), or for
// which its owner has no more room. What is below such a cgroup has no name.
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

// Skipped returns how many cgroups were left out since the newest walk began, see
// Tree.Skipped; also those that came faster than what one owner's may. They are tried again each minute.
func (w *Watcher) Skipped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tree.skipped
}

// retryLocked walks the tree again if a cgroup was left out: no event reports that it need
// not be by now.
func (w *Watcher) retryLocked() {
	left := w.tree.skipped > 0 || w.noise.left
	w.noise = newNoise()
	if left {
		_ = w.scanLocked() // Err has it
	}
}
