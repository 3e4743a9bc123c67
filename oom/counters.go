package oom

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Counters are the figures of a memory cgroup's OOM counter file. Keys that a
// kernel does not write stay zero.
type Counters struct {
	// OOM is how often the cgroup's limit was hit with nothing left to reclaim.
	OOM uint64
	// OOMKill is how often a process in it was killed. A group kill adds one
	// more than it has victims (mm/oom_kill.c, oom_kill_process).
	OOMKill uint64
	// OOMGroupKill is how often memory.oom.group took the whole cgroup.
	OOMGroupKill uint64
	// NoGroups is true if the kernel does not count group kills: before 5.17, and on
	// cgroup v1, which has none.
	NoGroups bool
}

// Victims is the number of processes that OOMKill stands for. The kernel counts the
// first victim of a group kill again with the others, unless that victim has let go of
// its memory by then (mm/oom_kill.c, __oom_kill_process): one kill is one victim at least.
func (c Counters) Victims() uint64 {
	return max(c.OOMKill-min(c.OOMGroupKill, c.OOMKill), min(c.OOMKill, 1))
}

// sub returns the rise from base to c. A counter that fell, which the kernel's
// never do, counts as not risen.
func (c Counters) sub(base Counters) Counters {
	return Counters{
		OOM:          c.OOM - min(base.OOM, c.OOM),
		OOMKill:      c.OOMKill - min(base.OOMKill, c.OOMKill),
		OOMGroupKill: c.OOMGroupKill - min(base.OOMGroupKill, c.OOMGroupKill),
		NoGroups:     c.NoGroups,
	}
}

// ParseCounters reads the text of memory.events, memory.events.local (cgroup
// v2) or memory.oom_control (cgroup v1): lines of a key and an unsigned number.
// oom_kill must be there, as it is since Linux 4.13; without it nothing can be
// said. Unknown keys pass, since kernels add some; a malformed line or a key
// given twice does not.
func ParseCounters(data []byte) (Counters, error) {
	var (
		c    Counters
		seen = make(map[string]bool, 8)
	)
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		key, value, ok := strings.Cut(line, " ")
		if !ok || key == "" {
			return Counters{}, fmt.Errorf("line %d: %q is not a key and a number", i+1, line)
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return Counters{}, fmt.Errorf("line %d: value of %q: %w", i+1, key, err)
		}
		if seen[key] {
			return Counters{}, fmt.Errorf("line %d: %q is there twice", i+1, key)
		}
		seen[key] = true
		switch key {
		case "oom":
			c.OOM = n
		case "oom_kill":
			c.OOMKill = n
		case "oom_group_kill":
			c.OOMGroupKill = n
		}
	}
	if !seen["oom_kill"] {
		return Counters{}, errors.New(`no "oom_kill": the kernel is older than 4.13`)
	}
	c.NoGroups = !seen["oom_group_kill"]
	return c, nil
}

// readCounters reads one counter file; a file of a removed cgroup is ErrGone,
// whether it can't be opened (ENOENT) or was removed while open (ENODEV).
func readCounters(name string) (Counters, error) {
	data, err := readSmall(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return Counters{}, fmt.Errorf("%s: %w", name, ErrGone)
	}
	if err != nil {
		return Counters{}, err
	}
	c, err := ParseCounters(data)
	if err != nil {
		return Counters{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}
