//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// usage is what a node holds for its pods.
type usage struct {
	pins, bundles, mounts int
	shims                 []shimUsage
}

// shimUsage is what one shim holds.
type shimUsage struct {
	pid, goroutines, threads int
	fds                      []string // what each open descriptor refers to, in order, without pidfds
	// pidfds are descriptors of runc's processes, for which upstream's reaper waits itself: Go
	// keeps each until its next garbage collection.
	pidfds int
	rss    int // KiB
}

func (u usage) String() string {
	text := fmt.Sprintf("pins=%d bundles=%d mounts=%d", u.pins, u.bundles, u.mounts)
	for _, s := range u.shims {
		text += fmt.Sprintf(" [rss=%dKiB goroutines=%d fds=%d pidfds=%d threads=%d]", s.rss, s.goroutines, len(s.fds), s.pidfds, s.threads)
	}
	return text
}

// measure reads the usage of the pods' shims, in the order of pods, and of the node.
func measure(t *testing.T, pods []string) (u usage) {
	t.Helper()
	u.pins = countFiles(t, "/sys/fs/bpf/oomwitness")
	bundles, err := os.ReadDir(faultkit.TasksDir)
	require.NoError(t, err)
	u.bundles = len(bundles)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	u.mounts = bytes.Count(mounts, []byte("\n"))
	for _, id := range pods {
		u.shims = append(u.shims, measureShim(t, id))
	}
	return u
}

func measureShim(t *testing.T, pod string) (s shimUsage) {
	t.Helper()
	s.pid = shimPid(t, pod)
	s.goroutines = goroutines(t, s.pid)
	dir := fmt.Sprintf("/proc/%d/fd", s.pid)
	fds, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, fd := range fds {
		switch target, err := os.Readlink(filepath.Join(dir, fd.Name())); {
		case err != nil: // the descriptor was closed just now
		case target == "anon_inode:[pidfd]":
			s.pidfds++
		default:
			s.fds = append(s.fds, target)
		}
	}
	slices.Sort(s.fds)
	s.rss, s.threads = statusField(t, s.pid, "VmRSS"), statusField(t, s.pid, "Threads")
	return s
}

// shimPid returns the pid of the shim that was started for a pod.
func shimPid(t *testing.T, pod string) int {
	t.Helper()
	pid := faultkit.ShimPid(pod)
	require.NotZero(t, pid, "pod %s has no shim", pod)
	return pid
}

func statusField(t *testing.T, pid int, name string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			value, err := strconv.Atoi(fields[1])
			require.NoError(t, err)
			return value
		}
	}
	t.Fatalf("no %s in the status of process %d", name, pid)
	return 0
}

// dumpEnd is the last line of the stacks that a shim writes to the log after SIGUSR1.
const dumpEnd = "=== END goroutine stack dump ==="

var goroutineHead = regexp.MustCompile(`goroutine [0-9]+ [^\[]*\[`)

// goroutines returns the number of a shim's goroutines, from the stacks that the shim writes on
// request.
func goroutines(t *testing.T, pid int) int {
	t.Helper()
	log, err := os.Open(faultkit.ContainerdLog)
	require.NoError(t, err)
	defer log.Close()
	from, err := log.Seek(0, 2)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGUSR1))
	var dump string
	require.NoError(t, faultkit.Until(t.Context(), fmt.Sprintf("the stacks of shim %d", pid), func() error {
		text := make([]byte, 1<<20)
		got, _ := log.ReadAt(text, from)
		_, after, _ := strings.Cut(string(text[:got]), "=== BEGIN goroutine stack dump ===")
		var whole bool
		if dump, _, whole = strings.Cut(after, dumpEnd); !whole {
			return fmt.Errorf("no %q in the log", dumpEnd)
		}
		return nil
	}))
	return len(goroutineHead.FindAllString(dump, -1))
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			n++
		}
		return err
	}))
	return n
}

func closed(fd int) error { return unix.Close(fd) }
