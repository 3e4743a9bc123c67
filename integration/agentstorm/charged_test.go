//go:build linux

package agentstorm

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
)

// charged is what the kernel charges to the agent's cgroup, in bytes.
type charged struct {
	// anon and kernel are memory that the kernel cannot take back; file are pages of
	// files, the program among them.
	anon, kernel, file int64
	// refaults are pages of files that the kernel took back too early; ooms are OOM kills.
	refaults, ooms int64
}

// names of the kernel's files and keys, by version of the hierarchy.
// mm/memcontrol-v1.c: memcg1_stats; mm/memcontrol.c: memory_stats.
var chargedKeys = map[int][3]string{1: {"rss", "cache", "oom_kill"}, 2: {"anon", "file", "oom_kill"}}

// chargedTo reads the charges of a cgroup.
func chargedTo(t *testing.T, h oom.Hierarchy, dir string) charged {
	t.Helper()
	keys, stat := chargedKeys[h.Version], keyed(t, filepath.Join(dir, "memory.stat"))
	c := charged{anon: stat[keys[0]], file: stat[keys[1]], refaults: stat["workingset_refault_file"], kernel: stat["kernel"]}
	events := "memory.events"
	if h.Version == 1 {
		events = "memory.oom_control"
		data, err := os.ReadFile(filepath.Join(dir, "memory.kmem.usage_in_bytes"))
		require.NoError(t, err)
		c.kernel, err = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		require.NoError(t, err)
	}
	c.ooms = keyed(t, filepath.Join(dir, events))[keys[2]]
	return c
}

// keyed reads a file of lines with a key and a number.
func keyed(t *testing.T, name string) map[string]int64 {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	values := map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, text, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.ParseInt(text, 10, 64)
		require.NoError(t, err, name)
		values[key] = n
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, values, name)
	return values
}

// max keeps the greater of each.
func (c *charged) max(with charged) {
	c.anon, c.kernel, c.file = max(c.anon, with.anon), max(c.kernel, with.kernel), max(c.file, with.file)
	c.refaults, c.ooms = max(c.refaults, with.refaults), max(c.ooms, with.ooms)
}

// cold returns a copy of a program of which no page is in memory: the first process that
// executes the copy is charged for its pages, as the agent's container is on a node.
func cold(t *testing.T, program string) string {
	t.Helper()
	data, err := os.ReadFile(program)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), filepath.Base(program))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o700)
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	require.NoError(t, f.Close())
	return name
}

// mostRefaults is how many pages may be read again: a program that is read again all the time
// stands still, and is not OOM-killed. With a limit of 48 MiB there were 109 million in 12
// minutes, and no probe was answered.
const mostRefaults = 4096

// requireRoom wants a limit with room for the whole program, for what the agent may have of
// its own, and for the kernel.
func requireRoom(t *testing.T, program string, limit int64) {
	t.Helper()
	f, err := elf.Open(program)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	const kernel = 8 << 20
	needs := uint64(maxResident<<10 + kernel)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			needs += p.Filesz
		}
	}
	require.GreaterOrEqual(t, uint64(limit), needs, "the chart's limit")
}

func (c charged) String() string {
	return fmt.Sprintf("anon_kib=%d kernel_kib=%d file_kib=%d refaults=%d ooms=%d", c.anon>>10, c.kernel>>10, c.file>>10, c.refaults, c.ooms)
}
