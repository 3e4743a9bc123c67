package cgroups

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// drainLocked takes the events that are there, and reports whether there were any.
func (w *Watcher) drainLocked() bool {
	some := false
	for w.fd >= 0 {
		n, err := unix.Read(w.fd, w.buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return some // EAGAIN: that was all
		}
		some = true
		if !w.takeLocked(w.buf[:n]) {
			w.againLocked()
		}
	}
	return true // closed
}

// takeLocked notes what events say, and returns false where the tree has to be
// looked through again.
func (w *Watcher) takeLocked(raw []byte) bool {
	ok := true
	for _, e := range decode(raw) {
		of, known := w.dirs[e.watch]
		path := filepath.Join(of.path, e.name)
		switch {
		case e.mask&unix.IN_Q_OVERFLOW != 0, e.mask&unix.IN_MOVE != 0:
			ok = false
		case e.mask&unix.IN_IGNORED != 0:
			w.endedLocked(e.watch)
		case !known || e.mask&unix.IN_ISDIR == 0:
		case e.mask&unix.IN_CREATE != 0 && !w.newsLocked(path):
			w.tree.skipped++
		case e.mask&unix.IN_CREATE != 0:
			if err := w.enterLocked(path); err != nil {
				w.tree.skip(err)
			}
		case e.mask&unix.IN_DELETE != 0:
			w.leaveLocked(path)
		}
	}
	return ok
}

// leaveLocked notes that a cgroup was removed: those below it were before.
func (w *Watcher) leaveLocked(path string) {
	d, ok := w.byPath[path]
	if !ok {
		return
	}
	delete(w.byPath, path)
	w.unwatchLocked(d)
	w.tree.left(d.id, time.Now())
}

// event is one of inotify(7)'s.
type event struct {
	watch int
	mask  uint32
	name  string
}

// decode reads struct inotify_event after struct inotify_event.
func decode(raw []byte) []event {
	var events []event
	for len(raw) >= unix.SizeofInotifyEvent {
		e := event{
			watch: int(int32(binary.NativeEndian.Uint32(raw))),
			mask:  binary.NativeEndian.Uint32(raw[4:]),
		}
		length := uint64(binary.NativeEndian.Uint32(raw[12:]))
		raw = raw[unix.SizeofInotifyEvent:]
		if length > uint64(len(raw)) {
			break
		}
		name, _, _ := bytes.Cut(raw[:length], []byte{0})
		e.name, raw = string(name), raw[length:]
		events = append(events, e)
	}
	return events
}
