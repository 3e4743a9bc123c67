//go:build linux

package bench

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// memory is what a process takes up, KiB.
type memory struct {
	// anon is its own memory, by its share: nobody else pays for it.
	anon int
	// file is its share of mapped files, fileResident all of them that are in
	// memory, which the shims of a node have in common.
	file, fileResident int
}

var rollupLine = regexp.MustCompile(`(?m)^(\w+):\s+(\d+) kB$`)

// memoryOf reads a shim's memory.
func memoryOf(t *testing.T, s *shimtest.Shim) memory {
	t.Helper()
	pss := table(t, fmt.Sprintf("/proc/%d/smaps_rollup", s.Pid()))
	status := table(t, fmt.Sprintf("/proc/%d/status", s.Pid()))
	require.NotZero(t, pss["Pss_Anon"])
	require.NotZero(t, status["RssFile"])
	return memory{anon: pss["Pss_Anon"], file: pss["Pss_File"], fileResident: status["RssFile"]}
}

func table(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	values := map[string]int{}
	for _, m := range rollupLine.FindAllSubmatch(text, -1) {
		v, err := strconv.Atoi(string(m[2]))
		require.NoError(t, err)
		values[string(m[1])] = v
	}
	return values
}

// cpuOf is the time on a CPU of the shim's threads so far. Go's threads do not
// end while the shim lives, and the processes that it starts are not counted.
func cpuOf(t *testing.T, s *shimtest.Shim) time.Duration {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/task", s.Pid())
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
