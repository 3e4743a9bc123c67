//go:build linux

package shim

import (
	"math"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/typeurl/v2"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
)

// spool adds an exit that is released to the node's spool: the record in the bundle is
// removed with the bundle. Nobody waits for spool but a Delete, for settleWait at most.
func (c *container) spool(e oom.Exit, v oom.Verdict, reported int, acked bool) {
	x := exits.Exit{
		ID: c.id, Pid: e.Pid, Pod: c.pod,
		At: e.At, Status: e.Status, Reported: reported, Acked: acked, Verdict: v,
	}
	if c.s.spool == "" || !x.Worth() {
		return
	}
	x.Boot, _ = oom.BootID()
	x.Namespace, _ = namespaces.Namespace(c.s.ctx)
	c.mu.Lock()
	stats := c.stats
	x.StartTicks = c.startTicks
	x.Stops = exits.Signals(c.stopsLocked())
	c.mu.Unlock()
	x.Memory = memoryAtEnd(stats)
	if err := exits.Append(c.s.spool, x); err != nil {
		c.trouble("exit not spooled", err)
	}
}

// unlimited1 is what cgroup v1 shows for no limit: the largest number of whole pages.
const unlimited1 = math.MaxInt64 &^ 0xffff

// memoryAtEnd returns the memory in the last metrics, nil where there are none.
func memoryAtEnd(stats typeurl.Any) *exits.Memory {
	if stats == nil {
		return nil
	}
	metrics, err := typeurl.UnmarshalAny(stats)
	if err != nil {
		return nil
	}
	switch m := metrics.(type) {
	case *cgroup1.Metrics:
		usage := m.GetMemory().GetUsage()
		if usage == nil {
			return nil
		}
		return memoryOf(usage.GetUsage(), usage.GetMax(), usage.GetLimit(), unlimited1)
	case *cgroup2.Metrics:
		memory := m.GetMemory()
		if memory == nil {
			return nil
		}
		return memoryOf(memory.GetUsage(), memory.GetMaxUsage(), memory.GetUsageLimit(), math.MaxUint64)
	default:
		return nil
	}
}

// memoryOf returns the memory by what the files of the cgroup said, or nil if the cgroup was
// removed meanwhile. The libraries return 0 for a file that is not there: memory.peak before
// Linux 5.19, and each file of a removed cgroup. A limit is never 0.
func memoryOf(usage, peak, limit, unlimited uint64) *exits.Memory {
	if limit == 0 {
		return nil
	}
	m := &exits.Memory{Usage: &usage, Unlimited: limit >= unlimited}
	if peak > 0 {
		m.Peak = &peak
	}
	if !m.Unlimited {
		m.Limit = &limit
	}
	return m
}
