// Package procs finds the daemons of a node among its processes.
package procs

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Daemons returns the PIDs of the node's own processes with a name, sorted, and those
// passed over, each with the reason in words. proc is where procfs is mounted.
//
// Any user can run a process with any name, and so can a container; what is
// learned of a daemon, such as its program and its PATH, is run as root later. So a
// process counts only if all its user IDs are root's, not by a set-user-ID program, and
// its mount and PID namespaces are those of process 1. In neither list is a process that
// has ended, be it a zombie or gone meanwhile, and a child of a daemon: it bears the name until
// it executes its own program.
func Daemons(proc, name string) (pids []int, passedOver []string, err error) {
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	if err != nil {
		return nil, nil, fmt.Errorf("list processes: %w", err)
	}
	parents := map[int]string{}
	for _, file := range files {
		comm, err := os.ReadFile(file)
		if err != nil || strings.TrimSuffix(string(comm), "\n") != name {
			continue
		}
		dir := filepath.Dir(file)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		ids, parent := owner(dir)
		switch parents[pid] = parent; {
		case ids == nil:
		case !slices.Equal(ids, []string{"0", "0", "0", "0"}):
			passedOver = append(passedOver, fmt.Sprintf("%s with pid %d is not root's: user IDs %s", name, pid, strings.Join(ids, " ")))
		case gained(dir):
			passedOver = append(passedOver, fmt.Sprintf("%s with pid %d is of another user: a set-user-ID program", name, pid))
		case !sameNamespace(proc, dir, "mnt"), !sameNamespace(proc, dir, "pid"):
			passedOver = append(passedOver, fmt.Sprintf("%s with pid %d is in a container: its namespaces are not the node's", name, pid))
		default:
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	daemons := slices.Clone(pids)
	return slices.DeleteFunc(pids, func(pid int) bool {
		parent, err := strconv.Atoi(parents[pid])
		return err == nil && slices.Contains(daemons, parent)
	}), passedOver, nil
}

// IsRoot reports whether the process with its folder at dir is root's, and was started by
// root.
func IsRoot(dir string) bool {
	ids, _ := owner(dir)
	return slices.Equal(ids, []string{"0", "0", "0", "0"}) && !gained(dir)
}

// atSecure is the key of AT_SECURE in a process's auxiliary vector (getauxval(3)).
const atSecure = 23

// gained reports whether a process has its rights from a set-user-ID program: the kernel
// sets AT_SECURE. Another user has then chosen the name, the arguments and the environment
// of the process, also where that program took all user IDs of root, as sudo does.
func gained(dir string) bool {
	vector, err := os.ReadFile(filepath.Join(dir, "auxv"))
	if err != nil || len(vector) < 8 {
		return false // it has ended, or nobody may look: then its program is unknown too
	}
	number, word := func(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }, 8
	if number(vector) > math.MaxUint32 { // a program of 32 bits: a key with its value
		number, word = func(b []byte) uint64 { return uint64(binary.NativeEndian.Uint32(b)) }, 4
	}
	for ; len(vector) >= 2*word; vector = vector[2*word:] {
		if number(vector) == atSecure {
			return number(vector[word:]) != 0
		}
	}
	return false
}

// owner returns the real, effective, saved and file system user IDs of a process
// (proc_pid_status(5)) and its parent, nil where the process has ended, also as a zombie. The
// owner of the folder in /proc is no substitute: it is root for any process that cannot be dumped.
func owner(dir string) (ids []string, parent string) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return nil, ""
	}
	for line := range strings.Lines(string(status)) {
		if state, found := strings.CutPrefix(line, "State:"); found && strings.HasPrefix(strings.TrimSpace(state), "Z") {
			return nil, ""
		}
		if text, found := strings.CutPrefix(line, "PPid:"); found {
			parent = strings.TrimSpace(text)
		}
		if text, found := strings.CutPrefix(line, "Uid:"); found {
			return strings.Fields(text), parent
		}
	}
	return nil, ""
}

// sameNamespace reports whether a process is in the namespace of process 1. It
// reports true where nobody may look: then nothing else can be learned of the
// process either.
func sameNamespace(proc, dir, kind string) bool {
	want, err := os.Readlink(filepath.Join(proc, "1", "ns", kind))
	if err != nil {
		return true
	}
	have, err := os.Readlink(filepath.Join(dir, "ns", kind))
	return err == nil && have == want
}
