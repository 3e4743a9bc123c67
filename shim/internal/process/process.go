//go:build linux

// Package process recognises a process by its pid and the time of its start.
package process

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/oomwitness/oomwitness/bpf"
)

// Running reports whether the process with that pid and start time runs. startTicks
// is in clock ticks since boot, as in /proc/PID/stat; with 0 any process with that
// pid counts. A zombie does not run.
func Running(pid int, startTicks uint64) bool {
	ticks, err := bpf.StartTicks(pid)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	return (startTicks == 0 || ticks == startTicks) && !zombie(pid)
}

// zombie reports whether a process has ended and waits to be reaped.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	// The state comes after the name, which may hold spaces and brackets.
	_, after, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return ok && (strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X"))
}
