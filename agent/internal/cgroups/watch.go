package cgroups

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// DefaultKeep is how long a removed cgroup is remembered.
	DefaultKeep = 10 * time.Minute
	// DefaultWatches bounds the kernel's memory for them, about 1 KiB each.
	DefaultWatches = 1 << 13
	// rescan is how often the tree is walked where it can't be watched as a whole.
	rescan = time.Second
	// atMost bounds the walks in a storm of kills whose cgroups are gone.
	atMost = rescan / 10
	// expiry is how often removed cgroups are looked through.
	expiry = time.Minute

	watchMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVE | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK
)

// Watcher knows the cgroups of the node, as they come and go: a kill's cgroup
// has a name also when it was removed at once. Where the kernel gives no more
// watches it walks the tree each second. Its methods may be called concurrently.
type Watcher struct {
	o    WatchOptions
	file *os.File

	// mu guards what follows. It is held while directories are read, never while
	// waiting.
	mu     sync.Mutex
	fd     int // of file, -1 once closed
	tree   *Tree
	byPath map[string]dir  // those that are there
	dirs   map[int]watched // by watch
	others int             // watches of cgroups that have an owner
	whole  bool            // every cgroup is watched that is to be, and no event was lost
	noise  noise
	err    error // of the newest walk
	buf    [16 << 10]byte
}

// dir is a cgroup that is there.
type dir struct {
	id    uint64
	watch int // -1 for none
}

// watched is a cgroup that is watched.
type watched struct {
	path  string
	owned bool // it has an owner
}

// WatchOptions say how much a Watcher may take; zero values are the defaults.
type WatchOptions struct {
	Keep    time.Duration
	Watches int
	// Appeared is called with the path of each cgroup that is new, by one
	// goroutine at a time, and must not wait. It may be nil.
	Appeared func(path string)
}

// NewWatcher returns a Watcher of the hierarchy at the mount point of the tree. The tree is
// the watcher's from now on.
func NewWatcher(tree *Tree, o WatchOptions) *Watcher {
	o.Keep, o.Watches = cmp.Or(o.Keep, DefaultKeep), cmp.Or(o.Watches, DefaultWatches)
	return &Watcher{o: o, fd: -1, tree: tree, byPath: map[string]dir{}, dirs: map[int]watched{}, noise: newNoise()}
}

// Restore takes what the watcher of an agent before this one knew, in the same boot:
// before Start, which finds what of it is gone.
func (w *Watcher) Restore(list []Known) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tree.restore(list)
}

// Notify has f called with each cgroup that is new, moved or removed from now on. It
// must not wait.
func (w *Watcher) Notify(f func(Known)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tree.notify = f
}

// All are the cgroups that are known, in no order.
func (w *Watcher) All() []Known {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tree.all()
}

// Start begins to watch, and has looked through the tree when it returns. An
// error means that the tree can't be read yet: Run tries again.
func (w *Watcher) Start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.openLocked()
	return w.scanLocked()
}

// Err returns why the tree could not be read when it was walked last, nil if it could.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Run follows the tree until ctx ends. A tree that can't be read is tried again.
func (w *Watcher) Run(ctx context.Context) {
	var following sync.WaitGroup
	if w.file != nil {
		following.Go(w.follow)
	}
	defer following.Wait()
	defer w.close()
	walk, old := time.NewTicker(rescan), time.NewTicker(expiry)
	defer walk.Stop()
	defer old.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-old.C:
			w.mu.Lock()
			w.tree.expire(time.Now().Add(-w.o.Keep))
			w.retryLocked()
			w.mu.Unlock()
		case <-walk.C:
			if w.walkAgain() {
				following.Go(w.follow)
			}
		}
	}
}

// Name names the cgroup that a record of the time at has.
func (w *Watcher) Name(id uint64, at time.Time) (Name, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if _, ok := w.tree.paths[id]; !ok && id != 0 {
		w.drainLocked() // it may be new
		if _, ok := w.tree.paths[id]; !ok && !w.whole && w.tree.walked.Before(at) && time.Since(w.tree.walked) > atMost {
			err = w.scanLocked()
		}
	}
	return w.tree.nameOf(id), err
}

// Size returns how many cgroups are known and how many are watched.
func (w *Watcher) Size() (known, watched int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tree.paths), len(w.dirs)
}

// walkAgain walks the tree where the tree is not watched as a whole, and reports whether
// watching begins.
func (w *Watcher) walkAgain() (begins bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.whole {
		begins = w.fd < 0 && w.openLocked()
		_ = w.scanLocked() // Err has it
	}
	return begins
}

// follow takes events until the file is closed.
func (w *Watcher) follow() {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return // closed
	}
	for err == nil {
		err = raw.Read(func(uintptr) bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.drainLocked()
		})
	}
}

// close ends watching. The file is closed without the lock: its Close waits for
// follow, which takes the lock.
func (w *Watcher) close() {
	w.mu.Lock()
	open := w.fd >= 0
	w.fd, w.whole = -1, false
	w.mu.Unlock()
	if open {
		_ = w.file.Close() // nothing was written to it
	}
}

// scanLocked looks through the whole tree, watches what is not watched yet, and
// notes what is gone.
func (w *Watcher) scanLocked() error {
	begin := time.Now()
	w.tree.begin()
	w.whole = w.fd >= 0
	if w.tree.Mount == "" {
		return nil
	}
	if w.err = w.enterLocked("/"); w.err != nil {
		w.whole = false
		w.err = fmt.Errorf("walk the cgroups at %s: %w", w.tree.Mount, w.err)
		return w.err
	}
	w.tree.walked = begin
	w.tree.missing(begin)
	for path, d := range w.byPath {
		switch k := w.tree.paths[d.id]; {
		case !k.gone.IsZero():
			delete(w.byPath, path)
			w.unwatchLocked(d)
		case k.path != path: // moved, with its watch
			delete(w.byPath, path)
		}
	}
	return nil
}

// errRoom says that an owner's cgroups have taken the owner's room.
var errRoom = errors.New("no room")

// enterLocked adds a cgroup and all below it. It is watched before it is read,
// so that none is missed that comes meanwhile. An error is of this cgroup alone:
// those below that can't be read are counted and left out.
func (w *Watcher) enterLocked(path string) error {
	before, known := w.byPath[path]
	owner := w.tree.Kubelet.owner(path)
	if !known && !w.tree.makeRoom(owner) {
		return errRoom // before the kernel is asked: it would keep what it has looked up
	}
	name := filepath.Join(w.tree.Mount, path)
	watch := w.watchLocked(name, path, owner)
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return err
	}
	if !w.tree.add(st.Ino, path) {
		w.unwatchLocked(dir{st.Ino, watch})
		return errRoom
	}
	switch {
	case before.id != st.Ino && w.o.Appeared != nil:
		w.o.Appeared(path)
	case before.id == st.Ino && watch < 0:
		watch = before.watch
	}
	w.byPath[path] = dir{st.Ino, watch}
	return w.readLocked(name, path)
}

// readLocked enters what is in a cgroup, few at a time: somebody may have made any
// number there.
func (w *Watcher) readLocked(name, path string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			if err := w.enterLocked(filepath.Join(path, e.Name())); err != nil {
				w.tree.skip(err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
