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

// settleTime is how long the agent is given before it lets go of what only its
// start has needed.
const settleTime = 20 * time.Second

// slim has the kernel take the pages of the program's own file off the process
// once it has started. Starting touches most of a large program, with the types and
// tables of commands that do not run here, and those pages would count as its
// memory from then on. What is needed comes back from the page cache by itself.
func slim(ctx context.Context) {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return // it goes on with more memory
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for _, m := range fileMappings(maps, self) {
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
