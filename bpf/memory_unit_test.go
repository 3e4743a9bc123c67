package bpf

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMemoryEvidence: what is not known is named, and never shown as 0.
func TestMemoryEvidence(t *testing.T) {
	page := uint64(os.Getpagesize())
	all := memoryUsage | memorySwap | memoryKinds | memoryKernel | memoryPageTables | memorySockets | memoryCandidates
	full := eventMemory{Seq: 5, Known: all, Usage: 1000 * page, Limit: 1000 * page, Anon: 3, File: 9, Shmem: 7, Kernel: 4}
	for name, c := range map[string]struct {
		change  func(*eventMemory)
		unknown []string
	}{
		"all":                   {func(*eventMemory) {}, nil},
		"kernel before 5.18":    {func(m *eventMemory) { m.Known &^= memoryKernel }, nil},
		"before 5.11":           {func(m *eventMemory) { m.Known &^= memoryPageTables }, []string{"pageTables"}},
		"no address":            {func(m *eventMemory) { m.Known = memoryUsage | memorySwap | memoryCandidates }, []string{"kinds", "pageTables", "sockets", "kernel"}},
		"the node":              {func(m *eventMemory) { m.Known = memoryUsage | memoryKinds | memoryPageTables | memoryCandidates }, []string{"swap", "sockets"}},
		"tier C, full":          {func(m *eventMemory) { m.Known = all&^memoryCandidates | memoryOwn }, []string{"candidates", "limiting cgroup"}},
		"tier C, nearly":        {func(m *eventMemory) { m.Known, m.Usage = all|memoryOwn, 600*page }, []string{"limiting cgroup"}},
		"tier C, not its limit": {func(m *eventMemory) { m.Known, m.Usage = all|memoryOwn, 400*page }, []string{"limiting cgroup", "usage", "swap", "kinds", "kernel", "candidates"}},
		"tier C, no limit":      {func(m *eventMemory) { m.Known, m.Limit = all|memoryOwn, 0 }, []string{"limiting cgroup", "usage", "swap", "kinds", "kernel", "candidates"}},
	} {
		m := full
		c.change(&m)
		e := m.evidence()
		require.Equal(t, c.unknown, e.Unknown, name)
		if name == "all" {
			require.EqualValues(t, []uint64{3, 2, 7}, []uint64{e.Anon, e.File, e.Shmem}, "file leaves shared memory out")
		}
	}
}

// TestMemoryOrder: candidates are the largest first, with what they have in swap.
func TestMemoryOrder(t *testing.T) {
	m := eventMemory{Known: memoryUsage, Scanned: 3}
	m.List[0], m.List[1], m.List[2] = candidate{TGID: 1, RSS: 5}, candidate{TGID: 2, RSS: 1, Swap: 9}, candidate{TGID: 3, RSS: 7}
	e := m.evidence()
	require.Equal(t, []int{2, 3, 1}, []int{e.Candidates[0].PID, e.Candidates[1].PID, e.Candidates[2].PID})
	m.Scanned = 1 << 30
	e = m.evidence()
	require.Len(t, e.Candidates, maxCandidates)
}

func TestParseSymbols(t *testing.T) {
	got := parseSymbols(strings.NewReader("ffffffff81000000 T oom_kill_process\n" +
		"ffffffff82000010 B vm_node_stat\nffffffff82000020 d mem_cgroup_stats_index\n" +
		"0000000000000000 B vm_zone_stat\nffffffff82000030 b _totalram_pages_x\nx\n\n"))
	require.Equal(t, map[string]uint64{"node_stats": 0xffffffff82000010, "stats_index": 0xffffffff82000020}, got)
}

func FuzzParseSymbols(f *testing.F) {
	f.Add("ffffffff82000010 B vm_node_stat\n")
	f.Fuzz(func(t *testing.T, text string) {
		for constant, address := range parseSymbols(strings.NewReader(text)) {
			require.NotZero(t, address, constant)
		}
	})
}
