//go:build linux

package bench

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

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
