package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// StartTicks reads when a process began, in clock ticks since boot, from
// /proc/PID/stat.
func StartTicks(pid int) (uint64, error) {
	_, ticks, err := readStat(pid)
	return ticks, err
}

// readStat reads the parent of a process, and when it began, in clock ticks since boot,
// from /proc/PID/stat.
func readStat(pid int) (parent int, ticks uint64, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err == nil {
		parent, ticks, err = parseStat(data)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("start time of pid %d: %w", pid, err)
	}
	return parent, ticks, nil
}

// parseStat finds fields 4 and 22 of proc(5)'s stat. The name before may hold spaces
// and brackets.
func parseStat(stat []byte) (parent int, ticks uint64, err error) {
	// The first field after the name is the third.
	const parentPID, startTime = 4 - 3, 22 - 3
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, 0, errors.New("malformed stat: no name")
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= startTime {
		return 0, 0, fmt.Errorf("malformed stat: %d fields after the name", len(fields))
	}
	if parent, err = strconv.Atoi(string(fields[parentPID])); err != nil {
		return 0, 0, fmt.Errorf("malformed stat: %w", err)
	}
	if ticks, err = strconv.ParseUint(string(fields[startTime]), 10, 64); err != nil {
		return 0, 0, fmt.Errorf("malformed stat: %w", err)
	}
	return parent, ticks, nil
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
