//go:build !no_loader

package bpf

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// variables are the kernel's variables whose addresses the programs are given, by the name
// of the programs' constant. Debian's kernels name them in /proc/kallsyms; a kernel without
// CONFIG_KALLSYMS_ALL does not.
var variables = map[string]string{
	"vm_node_stat":           "node_stats",
	"vm_zone_stat":           "zone_stats",
	"_totalram_pages":        "total_ram",
	"mem_cgroup_stats_index": "stats_index",
}

// addresses returns the addresses of the variables that the kernel names, by the programs'
// constants. What it does not name is left out.
func addresses() map[string]uint64 {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil
	}
	defer file.Close()
	return parseSymbols(file)
}

// parseSymbols reads lines of an address, a type and a name. Addresses that the reader may
// not see are 0.
func parseSymbols(from io.Reader) map[string]uint64 {
	found := map[string]uint64{}
	lines := bufio.NewScanner(from)
	for lines.Scan() && len(found) < len(variables) {
		line := lines.Bytes()
		address, rest, ok := bytes.Cut(line, []byte(" "))
		if !ok || len(rest) < 3 {
			continue
		}
		constant, ok := variables[string(rest[2:])]
		if !ok {
			continue
		}
		if n, err := strconv.ParseUint(string(address), 16, 64); err == nil && n != 0 {
			found[constant] = n
		}
	}
	return found
}

// statsMapped reports whether the kernel keeps fewer statistics of a cgroup than it numbers,
// by a table (mem_cgroup_stats_index of mm/memcontrol.c, from 6.11 on).
func statsMapped(kernel *btf.Spec) bool {
	var (
		stats *btf.Struct
		items *btf.Enum
	)
	if kernel.TypeByName("memcg_vmstats", &stats) != nil || kernel.TypeByName("memcg_stat_item", &items) != nil {
		return false // before 5.13
	}
	for _, m := range stats.Members {
		state, ok := btf.UnderlyingType(m.Type).(*btf.Array)
		if !ok || m.Name != "state" {
			continue
		}
		for _, v := range items.Values {
			if v.Name == "MEMCG_NR_STAT" {
				return uint64(state.Nelems) < v.Value
			}
		}
	}
	return true // not known: nothing is read
}
