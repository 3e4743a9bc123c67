package oom

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// kind is one kind of memory, and how much there is.
type kind struct {
	name  string
	bytes uint64
}

// String returns usage and limit, and the kinds with the largest first, such as
// "23.9 MiB of 24.0 MiB: shared memory 20.0 MiB, anonymous 3.1 MiB". The kinds are left
// out where the ledger does not know them.
func (m Memory) String() string {
	text := sizeText(m.Usage)
	if m.Limit > 0 {
		text += " of " + sizeText(m.Limit)
	}
	if kinds := m.Kinds(); kinds != "" {
		text += ": " + kinds
	}
	return text
}

// Kinds returns the kinds with the largest first, such as "shared memory 20.0 MiB,
// anonymous 3.1 MiB", "" where the ledger does not know them.
func (m Memory) Kinds() string {
	var parts []string
	for _, k := range m.kinds() {
		parts = append(parts, k.name+" "+sizeText(k.bytes))
	}
	return strings.Join(parts, ", ")
}

// kinds returns the kinds of which there is any, the largest first.
func (m Memory) kinds() []kind {
	all := []kind{
		{"anonymous", m.Anon},
		{"shared memory", m.Shmem},
		{"page cache", m.File},
		{"kernel", m.Kernel},
		{"swap", m.Swap},
	}
	all = slices.DeleteFunc(all, func(k kind) bool { return k.bytes == 0 })
	sort.SliceStable(all, func(i, j int) bool { return all[i].bytes > all[j].bytes })
	return all
}

// sizeText returns a number of bytes as people write it, such as "24.0 MiB".
func sizeText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, name := float64(n)/unit, 0
	for value >= unit && name < len(units)-1 {
		value /= unit
		name++
	}
	return fmt.Sprintf("%.1f %s", value, units[name])
}

var units = []string{"KiB", "MiB", "GiB", "TiB"}
