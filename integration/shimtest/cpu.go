//go:build linux

package shimtest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CPUTime returns the time on a CPU of a process's threads so far. Go's threads do not end
// while their process runs. Child processes are not counted.
func CPUTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := os.ReadDir(dir)
	require.NoError(t, err)
	var sum time.Duration
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/" + task.Name() + "/schedstat")
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		require.NoError(t, err)
		sum += time.Duration(ns)
	}
	return sum
}
