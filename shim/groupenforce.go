//go:build linux

package shim

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// groupEnforcer enforces the values of memory.oom.group that the policies of this shim's
// containers ask for. What
// runc has set holds by itself with the cgroupfs driver, and with the systemd
// driver where systemd knows an OOMPolicy of scopes. Before 253 it does not, and
// writes 0 into each scope when it is reloaded or a limit is changed. The kernel
// reports such a write (inotify(7)).
//
// One inotify instance does for all containers: root has 128 of them by default.
type groupEnforcer struct {
	ctx    context.Context
	counts *counters

	mu      sync.Mutex // guards what follows
	fd      int        // of events, without which it is of no use
	events  *os.File   // nil until the first container asks
	watches map[int32]*enforcedGroup
}

// enforcedGroup is one container's file.
type enforcedGroup struct {
	id, path, want string
}

func newGroupEnforcer(ctx context.Context, counts *counters) *groupEnforcer {
	return &groupEnforcer{ctx: ctx, counts: counts, watches: make(map[int32]*enforcedGroup)}
}

// enforceGroup begins the oom.group enforcement for a container.
//
// Preconditions: pid is its init's, which has not run yet.
func (s *Service) enforceGroup(c *container, pid int) error {
	h, err := s.hierarchy()
	if err != nil {
		return err
	}
	path, err := h.PathOf(pid)
	if err != nil {
		return err
	}
	return s.groups.add(&enforcedGroup{c.id, filepath.Join(h.Mount, path, oomGroupFile), c.policy.oomGroup})
}

func (g *groupEnforcer) add(f *enforcedGroup) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return fmt.Errorf("watch %s: %w", f.path, err)
		}
		g.fd, g.events = fd, os.NewFile(uintptr(fd), "inotify")
		go g.watch(g.events)
	}
	wd, err := unix.InotifyAddWatch(g.fd, f.path, unix.IN_MODIFY)
	if err != nil {
		return fmt.Errorf("watch %s: %w", f.path, err)
	}
	g.watches[int32(wd)] = f
	return g.restore(f) // it may have been changed before
}

// forget ends what add began.
func (g *groupEnforcer) forget(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for wd, f := range g.watches {
		if f.id == id {
			delete(g.watches, wd)
			_, _ = unix.InotifyRmWatch(g.fd, uint32(wd)) // the kernel may have, with the cgroup
		}
	}
}

func (g *groupEnforcer) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.events == nil {
		return nil
	}
	return g.events.Close()
}

// watch goes on until the instance is closed.
func (g *groupEnforcer) watch(events *os.File) {
	buf := make([]byte, 64*unix.SizeofInotifyEvent)
	for {
		n, err := events.Read(buf)
		if err != nil {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			var e unix.InotifyEvent // of a file, and so without a name
			_ = binary.Read(bytes.NewReader(b), binary.NativeEndian, &e)
			b = b[unix.SizeofInotifyEvent+int(e.Len):]
			g.changed(e.Wd)
		}
	}
}

func (g *groupEnforcer) changed(wd int32) {
	g.mu.Lock()
	f := g.watches[wd]
	g.mu.Unlock()
	if f == nil {
		return
	}
	if err := g.restore(f); err != nil {
		log.G(g.ctx).WithError(err).WithField("container", f.id).Debug("memory.oom.group cannot be enforced")
	}
}

// restore writes the value of the policy if the file has another value.
func (g *groupEnforcer) restore(f *enforcedGroup) error {
	is, err := os.ReadFile(f.path)
	if err != nil || strings.TrimSpace(string(is)) == f.want {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.WriteString(f.want); err != nil {
		return err
	}
	total := g.counts.add("memory.oom.group changed")
	level := log.InfoLevel
	if total > 1 {
		level = log.DebugLevel // whoever does it may do it often
	}
	log.G(g.ctx).WithFields(log.Fields{"container": f.id, "want": f.want, "total": total}).
		Log(level, "memory.oom.group was changed: the value of the annotation was written again")
	return nil
}
