package bpf_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

func lines(data []byte) []string {
	return strings.Fields(string(data))
}

// leaderEnded reports whether a process's first thread is a zombie.
func leaderEnded(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, pid))
	if err != nil {
		return false
	}
	_, after, ok := bytes.Cut(data, []byte(") "))
	return ok && len(after) > 0 && after[0] == 'Z'
}

// loadTime is how long the last load took that was let be, ns.
var loadTime atomic.Int64

func init() { loadTime.Store(int64(time.Second)) }
