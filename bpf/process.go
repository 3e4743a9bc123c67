package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// pidNamespaceOfNode is the inode of the first PID namespace
// (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const pidNamespaceOfNode = 0xEFFFFFFC

// inNodePIDNamespace returns an error where this process's PIDs are not the
// node's, since the ledger knows no others.
func inNodePIDNamespace() error {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return fmt.Errorf("look at the PID namespace: %w", err)
	}
	if st.Ino != pidNamespaceOfNode {
		return errors.New("this process is not in the node's PID namespace, whose PIDs the OOM ledger has")
	}
	return nil
}

// StartTicks reads when a process began, in clock ticks since boot, from
// /proc/PID/stat.
func StartTicks(pid int) (uint64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("start time of pid %d: %w", pid, err)
	}
	ticks, err := parseStartTicks(data)
	if err != nil {
		return 0, fmt.Errorf("start time of pid %d: %w", pid, err)
	}
	return ticks, nil
}

// parseStartTicks finds field 22 of proc(5)'s stat. The name before may hold
// spaces and brackets.
func parseStartTicks(stat []byte) (uint64, error) {
	const startTime = 22 - 3 // the first field after the name is the third
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("malformed stat: no name")
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= startTime {
		return 0, fmt.Errorf("malformed stat: %d fields after the name", len(fields))
	}
	ticks, err := strconv.ParseUint(string(fields[startTime]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("malformed stat: %w", err)
	}
	return ticks, nil
}

// CgroupID is a cgroup's ID, as records have it: the inode number of its folder.
func CgroupID(dir string) (uint64, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return 0, fmt.Errorf("ID of a cgroup: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("ID of the cgroup %s: no inode number", dir)
	}
	return st.Ino, nil
}
