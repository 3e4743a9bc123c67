//go:build linux

package policy

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// Enforcer enforces the values of memory.oom.group that the policies of this shim's
// containers ask for. What runc has set holds by itself with the cgroupfs driver, and
// with the systemd driver where systemd knows an OOMPolicy of scopes. Before 253 it does
// not, and writes 0 into each scope when it is reloaded or a limit is changed. The kernel
// reports such a write (inotify(7)). The methods may be called concurrently.
type Enforcer struct {
	ctx       context.Context
	count     func(what string) (total uint64)
	hierarchy func() (oom.Hierarchy, error)
	// events returns the inotify instance, which is made when the first container asks.
	// One does for all containers: root has 128 of them by default.
	events  func() (*os.File, error)
	watches sync.Map // of *group by the number of the watch, an int32
}

// group is one container's file.
type group struct{ id, path, want string }

// NewEnforcer returns an Enforcer, which ends with ctx. count counts an occurrence by its
// name.
func NewEnforcer(ctx context.Context, hierarchy func() (oom.Hierarchy, error), count func(string) uint64) *Enforcer {
	e := &Enforcer{ctx: ctx, count: count, hierarchy: hierarchy}
	e.events = sync.OnceValues(e.open)
	return e
}

// Enforce begins the oom.group enforcement for a container. end ends it, and is nil
// where there is nothing to end.
//
// Preconditions: pid is the container's init, which has not run yet.
func (e *Enforcer) Enforce(id string, pid int, p Policy) (end func(), err error) {
	h, err := e.hierarchy()
	if err != nil {
		return nil, err
	}
	path, err := h.PathOf(pid)
	if err != nil {
		return nil, err
	}
	return e.add(group{id, filepath.Join(h.Mount, path, groupFile), p.OOMGroup})
}

func (e *Enforcer) add(g group) (end func(), err error) {
	events, err := e.events()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", g.path, err)
	}
	var wd int
	err = withFD(events, func(fd int) (err error) {
		wd, err = unix.InotifyAddWatch(fd, g.path, unix.IN_MODIFY)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", g.path, err)
	}
	e.watches.Store(int32(wd), &g)
	end = func() {
		e.watches.Delete(int32(wd))
		_ = withFD(events, func(fd int) error { // the kernel may have, with the cgroup
			_, err := unix.InotifyRmWatch(fd, uint32(wd))
			return err
		})
	}
	return end, e.restore(&g) // it may have been changed before
}

// withFD calls f with the descriptor of an open file: the number is no other file's
// before f returns.
func withFD(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// open makes the inotify instance, and starts the goroutine that reads it. Both end with
// ctx.
func (e *Enforcer) open() (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	events := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(e.ctx, func() { _ = events.Close() })
	go e.watch(events)
	return events, nil
}

// watch goes on until the instance is closed.
func (e *Enforcer) watch(events *os.File) {
	buf := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := events.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, name := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[12:]) // of struct inotify_event
			b = b[unix.SizeofInotifyEvent+int(name):]
			e.changed(int32(wd))
		}
	}
}

func (e *Enforcer) changed(wd int32) {
	found, ok := e.watches.Load(wd)
	if !ok {
		return
	}
	g := found.(*group)
	if err := e.restore(g); err != nil {
		log.G(e.ctx).WithError(err).WithField("container", g.id).Debug("memory.oom.group cannot be enforced")
	}
}

// restore writes the value of the policy if the file has another value.
func (e *Enforcer) restore(g *group) error {
	is, err := os.ReadFile(g.path)
	if err != nil || strings.TrimSpace(string(is)) == g.want {
		return err
	}
	file, err := os.OpenFile(g.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(g.want); err != nil {
		return err
	}
	total := e.count("memory.oom.group changed")
	level := log.InfoLevel
	if total > 1 {
		level = log.DebugLevel // whoever does it may do it often
	}
	log.G(e.ctx).WithFields(log.Fields{"container": g.id, "want": g.want, "total": total}).
		Log(level, "memory.oom.group was changed: the value of the annotation was written again")
	return nil
}
