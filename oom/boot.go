package oom

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// boot is the ID of the node's boot, once it was read.
var boot atomic.Pointer[string]

// BootID names the time from one boot of the node to the next, to which PIDs and the
// kernel's clocks belong. It is "" beside an error. Calls may be concurrent.
func BootID() (string, error) {
	if id := boot.Load(); id != nil {
		return *id, nil
	}
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("find the boot's ID: %w", err)
	}
	id := strings.TrimSpace(string(text))
	boot.Store(&id)
	return id, nil
}
