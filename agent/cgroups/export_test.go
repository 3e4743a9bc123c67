package cgroups

// Inject has the watcher take what the kernel might have written.
func (w *Watcher) Inject(raw []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.takeLocked(raw) {
		_ = w.scanLocked() // the tree may be gone
	}
}

// Deaf has the kernel tell it nothing more.
func (w *Watcher) Deaf() {
	w.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.whole = true
}
