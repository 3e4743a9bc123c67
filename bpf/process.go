package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// stat is the part of /proc/PID/stat (proc(5)) that the package reads.
type stat struct {
	state  byte // Z of a process that has ended and waits to be reaped
	parent int
	ticks  uint64 // when the process began, in clock ticks since boot
}

// StartTicks reads when a process began, in clock ticks since boot, from
// /proc/PID/stat.
func StartTicks(pid int) (uint64, error) {
	s, err := readStat(pid)
	return s.ticks, err
}

// Running reports whether the process with that pid and start time runs. startTicks is as
// StartTicks returns it; with 0 any process with that pid counts. A zombie does not run.
func Running(pid int, startTicks uint64) bool {
	s, err := readStat(pid)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return (startTicks == 0 || s.ticks == startTicks) && s.state != 'Z' && s.state != 'X'
}

func readStat(pid int) (s stat, err error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err == nil {
		s, err = parseStat(data)
	}
	if err != nil {
		return stat{}, fmt.Errorf("start time of pid %d: %w", pid, err)
	}
	return s, nil
}

// parseStat finds fields 3, 4 and 22 of proc(5)'s stat. The name before may hold spaces
// and brackets.
func parseStat(data []byte) (s stat, err error) {
	// The first field after the name is the third.
	const state, parentPID, startTime = 0, 4 - 3, 22 - 3
	end := bytes.LastIndexByte(data, ')')
	if end < 0 {
		return stat{}, errors.New("malformed stat: no name")
	}
	fields := strings.Fields(string(data[end+1:]))
	if len(fields) <= startTime {
		return stat{}, fmt.Errorf("malformed stat: %d fields after the name", len(fields))
	}
	s.state = fields[state][0]
	if s.parent, err = strconv.Atoi(fields[parentPID]); err != nil {
		return stat{}, fmt.Errorf("malformed stat: %w", err)
	}
	if s.ticks, err = strconv.ParseUint(fields[startTime], 10, 64); err != nil {
		return stat{}, fmt.Errorf("malformed stat: %w", err)
	}
	return s, nil
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
