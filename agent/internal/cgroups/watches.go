package cgroups

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openLocked begins to watch, and reports whether the kernel lets it: all processes of root,
// also those in pods, share a number of inotify instances. Without one the tree is walked.
func (w *Watcher) openLocked() bool {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return false
	}
	w.fd, w.file = fd, os.NewFile(uintptr(fd), "inotify")
	return true
}

// watchLocked returns the watch of a cgroup, -1 where there is none. Of those that have an
// owner at most half are watched, and none whose owner makes noise: the others are
// found when the tree is walked.
func (w *Watcher) watchLocked(name, path, owner string) int {
	switch {
	case w.fd < 0:
		return -1
	case w.noise.muted[owner], owner != "" && w.others >= w.o.Watches/2:
		w.noise.left = true
		return -1
	case len(w.dirs) >= w.o.Watches:
		w.whole = false
		return -1
	}
	watch, err := unix.InotifyAddWatch(w.fd, name, watchMask)
	if err == nil {
		w.endedLocked(watch) // where it is the one before
		w.dirs[watch] = watched{path, owner != ""}
		if owner != "" {
			w.others++
		}
		return watch
	}
	if owner == "" && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM)) {
		w.whole = false // no more watches; else the cgroup is gone, or can't be read
	}
	return -1
}

// endedLocked notes that a watch is no more.
func (w *Watcher) endedLocked(watch int) {
	if w.dirs[watch].owned {
		w.others--
	}
	delete(w.dirs, watch)
}

// unwatchLocked ends the watch of a cgroup that was removed. The kernel does so by
// itself on other file systems; kernfs leaves the count of links as it was, and
// inotify then keeps watch and inode until the watch is removed.
func (w *Watcher) unwatchLocked(d dir) {
	if d.watch < 0 || w.fd < 0 {
		return
	}
	_, _ = unix.InotifyRmWatch(w.fd, uint32(d.watch)) // EINVAL: it has ended
	w.endedLocked(d.watch)
}
