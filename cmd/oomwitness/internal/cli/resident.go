package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// slimEvery is how often the agent lets go of what it does not use now.
const slimEvery = 30 * time.Second

// slim has the kernel take the pages of the program's own file off the process,
// until ctx ends. Starting touches most of a large program, with the types and
// tables of commands that do not run here, and a page that is asked for once some
// more: they would count as the agent's memory from then on. What is needed comes
// back from the page cache by itself.
func slim(ctx context.Context) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return // it goes on with more memory
	}
	tick := time.NewTicker(slimEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			letGo(self)
		}
	}
}

// letGo does it once.
func letGo(file string) {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for _, m := range fileMappings(maps, file) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// fileMappings finds the read-only mappings of a file in proc(5)'s maps: what is
// taken off them is in the file.
func fileMappings(maps io.Reader, file string) []mapping {
	var found []mapping
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != file || !strings.HasPrefix(fields[1], "r-") {
			continue
		}
		var m mapping
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &m.start, &m.end); err == nil && m.start < m.end {
			found = append(found, m)
		}
	}
	return found
}
