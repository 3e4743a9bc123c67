package cgroups

import (
	"bytes"
	"errors"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits reads the memory limit of a cgroup, by its ID, and the most that it has used,
// in bytes: the hierarchy's version says in which files. Each is nil where there is
// none, or it can't be read: the cgroup is gone.
func (w *Watcher) Limits(id uint64) (limit, usage *uint64) {
	w.mu.Lock()
	path := w.tree.paths[id].path
	w.mu.Unlock()
	if path == "" {
		return nil, nil
	}
	dir := filepath.Join(w.tree.Mount, path)
	for _, names := range [][2]string{
		{"memory.max", "memory.peak"},                          // v2
		{"memory.limit_in_bytes", "memory.max_usage_in_bytes"}, // v1
		{"memory.max", "memory.current"},                       // v2 before Linux 5.19
	} {
		if limit == nil {
			limit = number(dir, names[0])
		}
		if usage == nil {
			usage = number(dir, names[1])
		}
	}
	return limit, usage
}

// unlimited is what v1 says for none: the largest multiple of any page size.
const unlimited = 1<<63 - 1<<16

func number(dir, name string) *uint64 {
	var buf [32]byte // the longest number has 20 digits
	text, ok := readShort(dir+"/"+name, buf[:])
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil || n >= unlimited {
		return nil // "max"
	}
	return &n
}

// readShort reads a file that fits in buf. It is by system calls: an os.File is
// made for what may wait, with a poller, a finalizer and twice as many calls.
func readShort(path string, buf []byte) ([]byte, bool) {
	fd, err := again(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, false
	}
	n, err := again(func() (int, error) { return unix.Read(fd, buf) })
	_ = unix.Close(fd) // nothing was written to it
	return buf[:max(n, 0)], err == nil && n < len(buf)
}

// again calls f until no signal has come between.
func again(f func() (int, error)) (n int, err error) {
	for n, err = f(); errors.Is(err, unix.EINTR); n, err = f() {
	}
	return n, err
}
