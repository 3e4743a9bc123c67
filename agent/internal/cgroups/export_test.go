package cgroups

import "golang.org/x/sys/unix"

// Inject has the watcher take what the kernel might have written.
func (w *Watcher) Inject(raw []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.takeLocked(raw) {
		_ = w.scanLocked() // the tree may be gone
	}
}

// Paths is how many it takes to be there.
func (w *Watcher) Paths() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byPath)
}

// Lose has the events that are there go unread.
func (w *Watcher) Lose() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if n, err := unix.Read(w.fd, w.buf[:]); err != nil || n <= 0 {
			return
		}
	}
}

// Deaf ends all events of the kernel for the watcher.
func (w *Watcher) Deaf() {
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}

// Whole reports whether all cgroups are watched that can be read.
func (w *Watcher) Whole() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.whole
}

// Retry does what Run does each minute.
func (w *Watcher) Retry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retryLocked()
}

// KnownTo is how many cgroups a tree knows.
func KnownTo(t *Tree) int { return len(t.paths) }
