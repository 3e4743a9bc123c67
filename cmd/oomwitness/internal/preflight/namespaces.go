package preflight

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/bpf"
)

// Inodes of the kernel's first namespaces, from include/linux/proc_ns.h.
const (
	firstCgroupNamespace = 0xEFFFFFFB
	firstPIDNamespace    = 0xEFFFFFFC
)

// namespaces reports whether the node is a container itself, as with kind, k3d and Docker in
// Docker, and which evidence decides then. meta is that of the loaded ledger; err is the reason
// if none is loaded.
func (c Checker) namespaces(meta bpf.Meta, err error) Finding {
	const name = "namespaces"
	pid, failed := c.namespace("pid")
	cgroup, failed2 := c.namespace("cgroup")
	switch {
	case failed != nil || failed2 != nil:
		return bad(Warn, name, "mount /proc, and run this command as root, with CAP_SYS_PTRACE",
			"cannot read the namespaces of process 1: %v", cmp.Or(failed, failed2))
	case pid == firstPIDNamespace && cgroup == firstCgroupNamespace:
		return ok(name, "PIDs and cgroup IDs are the kernel's own")
	case pid == firstPIDNamespace:
		return ok(name, "cgroup namespace %d of its own: cgroup IDs are the kernel's all the same, a limit above its root has the cause ancestor", cgroup)
	case err != nil:
		return ok(name, "the node is a container, in PID namespace %d; the shim loads a ledger with these PIDs", pid)
	case meta.PIDNS == pid:
		return ok(name, "the node is a container: the ledger has the PIDs of its PID namespace %d, and cgroup IDs are the kernel's", pid)
	}
	return bad(Warn, name, "oomwitness unload; the shim then loads a ledger with this node's PIDs, on a BPF file system that no other node shares",
		"the node is a container, in PID namespace %d; the ledger has the PIDs and cgroups of another, %d: verdicts come from the counters", pid, meta.PIDNS)
}

// namespace returns the inode of a namespace of process 1.
func (c Checker) namespace(kind string) (uint32, error) {
	text, err := os.Readlink(filepath.Join(c.Root.Path("/proc/1/ns"), kind))
	if err != nil {
		return 0, err
	}
	number := strings.TrimSuffix(strings.TrimPrefix(text, kind+":["), "]")
	inode, err := strconv.ParseUint(number, 10, 32)
	if err != nil || inode == 0 {
		return 0, fmt.Errorf("/proc/1/ns/%s leads to %q", kind, text)
	}
	return uint32(inode), nil
}
