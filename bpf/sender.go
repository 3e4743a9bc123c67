package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"structs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/bpf/internal/pinned"
	"github.com/oomwitness/oomwitness/oom"
)

// senderFlags are the flags of a senderEntry.
type senderFlags uint32

const (
	// senderWatched marks an init that userspace has entered.
	senderWatched senderFlags = 1 << iota
	// senderKernel marks a signal of the kernel's own.
	senderKernel
	// senderOutside marks a sender outside of the node's PID namespace.
	senderOutside
)

// senderEntry is a value of inits. BootNS is 0 while nobody has sent a SIGKILL.
type senderEntry struct {
	_          structs.HostLayout
	BootNS     uint64
	StartTicks uint64
	Cgroup     uint64
	TGID       uint32
	UID        uint32
	Comm       Comm
	Flags      senderFlags
	_          uint32
	InitCgroup uint64
}

// Sender is who sent a SIGKILL that ended a container's init, the OOM killer apart.
type Sender struct {
	// Init is the process that was killed, InitCgroup the ID of its cgroup on the hierarchy
	// that memory is on; 0 for a signal that a ledger before ABI 3 has seen.
	Init       TaskKey
	InitCgroup uint64
	// BootNS is CLOCK_BOOTTIME at the signal, ns.
	BootNS uint64
	// TGID is the sender's in the node's PID namespace, 0 for one outside of it, and
	// StartTicks when the sender began.
	TGID       uint32
	StartTicks uint64
	Comm       Comm
	UID        uint32 // real user ID in the node's user namespace
	// Cgroup is the ID of the sender's cgroup on the hierarchy that memory is on.
	Cgroup uint64
	// Kernel is true for a signal of the kernel's own: the sender is the process that
	// the kernel was working for.
	Kernel bool
	// Outside is true for a sender outside of the node's PID namespace.
	Outside bool
	// Watched is true for an init that a shim watches.
	Watched bool
}

func (e *senderEntry) sender(init TaskKey) Sender {
	return Sender{
		Init: init, InitCgroup: e.InitCgroup, BootNS: e.BootNS, TGID: e.TGID, StartTicks: e.StartTicks, Comm: e.Comm,
		UID: e.UID, Cgroup: e.Cgroup, Kernel: e.Flags&senderKernel != 0,
		Outside: e.Flags&senderOutside != 0, Watched: e.Flags&senderWatched != 0,
	}
}

// noPID stands for the PID of a process that has none on this node: 0 is the kernel.
const noPID = -1

// Evidence returns the sender as a verdict has it. The cgroups of h have their paths.
func (s Sender) Evidence(h oom.Hierarchy) *oom.Sender {
	sent := &oom.Sender{
		At: wallTime(s.BootNS), PID: int(s.TGID), StartTicks: s.StartTicks, Comm: s.Comm.String(),
		UID: s.UID, Cgroup: s.Cgroup, CgroupPath: cgroupPath(h.Mount, s.Cgroup),
	}
	switch {
	case s.Kernel:
		sent.PID = 0
	case s.Outside:
		sent.PID = noPID
	}
	return sent
}

// Senders returns the senders of all SIGKILLs to inits of containers that the ledger
// has, in no order: of those that a shim watches until the container is deleted, and of
// those that are process 1 of a PID namespace and were started by root until Forget.
func (l *Ledger) Senders() ([]Sender, error) {
	list, err := l.senders()
	return list, errors.Join(err, l.Whole())
}

func (l *Ledger) senders() (list []Sender, err error) {
	err = pinned.Each(l.inits, func(key TaskKey, e senderEntry) {
		if e.BootNS == 0 {
			return
		}
		if _, killed, err := l.task(key); err == nil && killed && e.Flags&senderKernel != 0 {
			return // the OOM killer's, whose mark is yet to come
		}
		list = append(list, e.sender(key))
	})
	if err != nil {
		return nil, fmt.Errorf("list the senders in the OOM ledger: %w", permission(err, capBPF))
	}
	return list, nil
}

// sentTo looks up who sent an init its SIGKILL. ok is false where the ledger does not
// watch the init.
func (l *Ledger) sentTo(init TaskKey) (e senderEntry, ok bool, err error) {
	err = pinned.Lookup(l.inits, &init, &e)
	if errors.Is(err, unix.ENOENT) {
		return senderEntry{}, false, nil
	}
	if err != nil {
		return senderEntry{}, false, fmt.Errorf("look a sender up in the OOM ledger: %w", permission(err, capBPF))
	}
	return e, true, nil
}

// watch enters an init, so that the sender of a SIGKILL is written down. What the map
// holds of processes that have ended is removed where it is full.
func (l *Ledger) watch(init TaskKey) error {
	watched := senderEntry{Flags: senderWatched}
	err := pinned.Insert(l.inits, &init, &watched)
	if errors.Is(err, unix.E2BIG) {
		if err = l.sweep(); err == nil {
			err = pinned.Insert(l.inits, &init, &watched)
		}
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("watch an init in the OOM ledger: %w", permission(err, capBPF))
	}
	return nil
}

// Forget makes room: it removes what the ledger has of the sender of an init's SIGKILL,
// unless a shim watches the init, which then asks for it. It is no error if there is
// nothing.
func (l *Ledger) Forget(init TaskKey) error {
	e, ok, err := l.sentTo(init)
	if err != nil || !ok || e.Flags&senderWatched != 0 {
		return err
	}
	return l.unwatch(init)
}

// unwatch removes an init.
func (l *Ledger) unwatch(init TaskKey) error {
	err := pinned.Delete(l.inits, &init)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget an init in the OOM ledger: %w", permission(err, capBPF))
	}
	return nil
}

// How long the sender of a process that has ended is kept where there is no room: the shim
// that watches the process, or the removal of a dead shim's container, asks sooner, and
// the agent asks for the others each few seconds.
const (
	keepWatched   = 10 * time.Minute
	keepUnwatched = 10 * time.Second
)

// kept reports whether the entry of a process that has ended is to be kept.
func (e *senderEntry) kept() bool {
	keep := keepUnwatched
	if e.Flags&senderWatched != 0 {
		keep = keepWatched
	}
	return e.BootNS != 0 && BootNow()-e.BootNS < uint64(keep)
}

// sweep forgets inits that have ended: those without a sender, and those whose sender
// nobody has asked for in time.
func (l *Ledger) sweep() error {
	var gone []TaskKey
	err := pinned.Each(l.inits, func(key TaskKey, e senderEntry) {
		if e.kept() {
			return
		}
		if ticks, err := StartTicks(int(key.TGID)); err != nil || ticks != key.StartTicks {
			gone = append(gone, key)
		}
	})
	if err != nil {
		return fmt.Errorf("sweep the inits of the OOM ledger: %w", err)
	}
	for _, key := range gone {
		if err := l.unwatch(key); err != nil {
			return err
		}
	}
	return nil
}

// kernfsHandle is the kernel's FILEID_KERNFS (enum fid_type): a file handle that is the ID
// of a cgroup.
const kernfsHandle = 0xfe

// cgroupPath returns the path of a cgroup below its mount, by its ID, "" where the
// cgroup has gone or the process may not ask.
func cgroupPath(mount string, id uint64) string {
	dir, err := os.Open(mount)
	if err != nil || id == 0 {
		return ""
	}
	defer dir.Close()
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(int(dir.Fd()), handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	path, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd)))
	if err != nil {
		return ""
	}
	below, ok := strings.CutPrefix(path, mount)
	if !ok || strings.HasSuffix(path, " (deleted)") {
		return ""
	}
	path = filepath.Join("/", below)
	return path[:min(len(path), maxSenderPath)]
}

// maxSenderPath bounds the path of a sender's cgroup, in bytes. Those of kubelet and systemd
// have some 200; a user's own may have 4,096, and a line of the spool has no room for that.
const maxSenderPath = 512
