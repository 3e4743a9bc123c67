// Package procs finds the daemons of a node among its processes.
package procs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Daemons returns the PIDs of the node's own processes with a name, sorted. proc is
// where procfs is mounted.
//
// Any user can run a process with any name, and so can a container; what is
// learned of a daemon, such as its program and its PATH, is run as root later. So a
// process counts only if all its user IDs are root's and its mount namespace is
// that of process 1. A process that has ended meanwhile does not count.
func Daemons(proc, name string) ([]int, error) {
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var out []int
	for _, file := range files {
		comm, err := os.ReadFile(file)
		if err != nil || strings.TrimSuffix(string(comm), "\n") != name {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && isRoot(filepath.Dir(file)) && sameMounts(proc, filepath.Dir(file)) {
			out = append(out, pid)
		}
	}
	slices.Sort(out)
	return out, nil
}

// isRoot reports whether the real, effective, saved and file system user IDs of a
// process are root's (proc_pid_status(5)). The owner of its folder does not tell:
// that is root also for a process of anyone's that cannot be dumped.
func isRoot(dir string) bool {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, found := strings.CutPrefix(line, "Uid:"); found {
			return slices.Equal(strings.Fields(ids), []string{"0", "0", "0", "0"})
		}
	}
	return false
}

// sameMounts reports whether a process is in the mount namespace of process 1. It
// reports true where nobody may look: then nothing else can be learned of the
// process either.
func sameMounts(proc, dir string) bool {
	want, err := os.Readlink(filepath.Join(proc, "1", "ns", "mnt"))
	if err != nil {
		return true
	}
	have, err := os.Readlink(filepath.Join(dir, "ns", "mnt"))
	return err == nil && have == want
}
