package agent

import (
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/bpf"
)

// limits finds what a domain's limit was, and the most that it had used. It is for
// one goroutine.
type limits struct {
	// read reads those of a cgroup by its ID, nil where it is gone.
	read func(id uint64) (limit, usage *uint64)
	// node returns the node's memory and swap, in bytes.
	node func() (memory, swap uint64, ok bool)
	// boot is CLOCK_BOOTTIME, ns.
	boot func() uint64
	// last are the figures that were read last, by the cgroup's ID.
	last map[uint64]figures
}

// figures are those of a cgroup as they were at or after a moment.
type figures struct {
	bootNS       uint64
	limit, usage *uint64
}

// maxFigures bounds limits.last.
const maxFigures = 1024

func newLimits(read func(id uint64) (limit, usage *uint64)) *limits {
	return &limits{read: read, node: nodeMemory, boot: bpf.BootNow, last: map[uint64]figures{}}
}

// of returns both, as they were after bootNS, the time of the kill. A cgroup may be
// gone by now, removed by systemd with its last process. The kernel said its limits
// of memory and swap together when it fired (mem_cgroup_get_max): on a node without
// swap that is its limit of memory.
func (l *limits) of(d *events.Domain, bootNS uint64) (limit, usage *uint64) {
	if d.Path != "" {
		limit, usage = l.after(d, bootNS)
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

// after reads a cgroup's figures, unless they were read since the kill: in a storm
// the ring has many kills of one cgroup, and what was read for the first of them
// is nearer to each of the others than what would be read now.
func (l *limits) after(d *events.Domain, bootNS uint64) (limit, usage *uint64) {
	if f, ok := l.last[d.ID]; ok && f.bootNS > bootNS {
		return f.limit, f.usage
	}
	f := figures{bootNS: l.boot()}
	f.limit, f.usage = l.read(d.ID)
	if len(l.last) >= maxFigures {
		clear(l.last)
	}
	l.last[d.ID] = f
	return f.limit, f.usage
}

// nodeMemory is the node's memory and swap, in bytes: sysinfo(2).
func nodeMemory() (memory, swap uint64, ok bool) {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0, 0, false
	}
	return info.Totalram * uint64(info.Unit), info.Totalswap * uint64(info.Unit), true
}
