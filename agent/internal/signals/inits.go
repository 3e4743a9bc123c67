// Package signals finds the containers whose init a SIGKILL has ended that neither the OOM
// killer nor a runtime has sent, where no shim of ours does: it makes the exits that such
// a shim would have spooled.
package signals

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/lru"

	"github.com/oomwitness/oomwitness/agent/internal/cgroups"
	"github.com/oomwitness/oomwitness/bpf"
)

const (
	// maxFresh bounds the containers that have just appeared, and those that are looked for;
	// maxKnown the inits that are remembered, and the containers that were looked for.
	maxFresh, maxKnown = 1024, 4096
	// patience is how long the init of a container that has appeared is looked for.
	patience = time.Minute
	// nearly is how far the time at which a process began may be from that of the file
	// which names the process.
	nearly = time.Minute

	bundlesDir = "io.containerd.runtime.v2.task" // containerd v2 core/runtime/v2/task_manager.go
	pidFile    = "init.pid"                      // containerd v2 cmd/containerd-shim-runc-v2/process/utils.go
)

// Inits knows the container of each init. A ledger names the init that was killed by its
// PID alone, and by then the process has gone: so the init is looked for while the
// container lives.
type Inits struct {
	// Mount is where the hierarchy that memory is on is mounted.
	Mount string
	// State is containerd's state directory, such as /run/containerd; "" for none.
	State string
	// Kubelet says which cgroups are containers'; nil for its default.
	Kubelet *cgroups.Kubelet

	// All returns the cgroups that are known, to find again what had no room; nil for none.
	All func() []cgroups.Known

	fresh   chan place
	wake    chan struct{} // there is something in fresh
	pending []place
	known   *lru.Cache // origin by PID
	done    *lru.Cache // IDs of containers that are not looked for any more
	missed  atomic.Uint64
	again   atomic.Bool // some are to be found again
}

// place is a container that has appeared, and whose init is not known yet.
type place struct {
	path, container string
	id              uint64 // of the cgroup, 0 until it was read
	until           time.Time
}

// origin is where an init is.
type origin struct {
	cgroup    uint64
	container string
	// ticks is when the init began, 0 where only its file is known: written at that time.
	ticks   uint64
	written time.Time
}

// NewInits returns Inits that know nothing yet.
func NewInits(mount, state string, kubelet *cgroups.Kubelet) *Inits {
	return &Inits{
		Mount: mount, State: state, Kubelet: kubelet,
		fresh: make(chan place, maxFresh), wake: make(chan struct{}, 1), known: lru.New(maxKnown), done: lru.New(maxKnown),
	}
}

// find reports whether nothing more is to be found out of a container.
func (i *Inits) find(p *place) (done bool) {
	dir := filepath.Join(i.Mount, p.path)
	if p.id == 0 {
		var err error
		if p.id, err = bpf.CgroupID(dir); err != nil {
			return true // gone
		}
	}
	o := origin{cgroup: p.id, container: p.container}
	pid, written := i.byBundle(p.container)
	if pid == 0 {
		pid, o.ticks = byProcs(dir)
	}
	if pid == 0 {
		return false
	}
	o.written = written
	i.known.Add(uint32(pid), o)
	return true
}

// byBundle returns the PID that the runc shim of a container has written, and when; 0 if
// there is none.
func (i *Inits) byBundle(container string) (pid int, written time.Time) {
	if i.State == "" {
		return 0, time.Time{}
	}
	root := filepath.Join(i.State, bundlesDir)
	namespaces, err := os.ReadDir(root)
	if err != nil {
		return 0, time.Time{}
	}
	for _, ns := range namespaces {
		text, written, err := readSmall(filepath.Join(root, ns.Name(), container, pidFile))
		if err != nil {
			continue
		}
		if pid, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 31); err == nil {
			return int(pid), written
		}
	}
	return 0, time.Time{}
}

// byProcs returns the process 1 of a PID namespace in a cgroup, and when it began; 0 where
// there is none, or where this process does not see the node's.
func byProcs(dir string) (pid int, ticks uint64) {
	text, _, err := readSmall(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid <= 0 || !firstInNamespace(pid) {
			continue
		}
		if ticks, err := bpf.StartTicks(pid); err == nil {
			return pid, ticks
		}
	}
	return 0, 0
}

// firstInNamespace reports whether a process is process 1 of a PID namespace below this
// process's: the last of its PIDs is 1 (proc(5), NSpid).
func firstInNamespace(pid int) bool {
	text, _, err := readSmall(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(pids)
			return len(all) > 1 && all[len(all)-1] == "1"
		}
	}
	return false
}

// maxSmall bounds what is read of a file, in bytes.
const maxSmall = 64 << 10

func readSmall(name string) (text []byte, written time.Time, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	text, err = io.ReadAll(io.LimitReader(f, maxSmall))
	return text, fi.ModTime(), err
}

// ticksPerSecond is USER_HZ of amd64 and arm64.
const ticksPerSecond = 100

// of returns where an init is, false where that is not known: also where the PID was
// another process's before.
func (i *Inits) of(init bpf.TaskKey) (origin, bool) {
	cached, ok := i.known.Get(init.TGID)
	if !ok {
		return origin{}, false
	}
	o := cached.(origin)
	if o.ticks != 0 {
		return o, o.ticks == init.StartTicks
	}
	sinceBoot := time.Duration(init.StartTicks) * (time.Second / ticksPerSecond)
	began := time.Now().Add(sinceBoot - time.Duration(bpf.BootNow()))
	return o, began.Sub(o.written).Abs() < nearly
}
