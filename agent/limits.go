package agent

import (
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/kill"
)

// limits finds what a domain's limit was, and the most that it had used.
type limits struct {
	// read reads those of a cgroup by its path, nil where it is gone.
	read func(path string) (limit, usage *uint64)
	// node gives the node's memory and swap, in bytes.
	node func() (memory, swap uint64, ok bool)
}

// of gives both. A cgroup may be gone by now, removed by systemd with its last
// process. The kernel said its limits of memory and swap together when it fired
// (mem_cgroup_get_max): on a node without swap that is its limit of memory.
func (l limits) of(d *kill.Domain) (limit, usage *uint64) {
	if d.Path != "" {
		limit, usage = l.read(d.Path)
	}
	if limit != nil {
		return limit, usage
	}
	switch memory, swap, ok := l.node(); {
	case !ok:
	case d.ID == 0:
		limit = new(memory)
	case swap == 0 && d.Size != 0:
		limit = new(d.Size)
	}
	return limit, usage
}

// nodeMemory is the node's memory and swap, in bytes: sysinfo(2).
func nodeMemory() (memory, swap uint64, ok bool) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0, 0, false
	}
	return info.Totalram * uint64(info.Unit), info.Totalswap * uint64(info.Unit), true
}
