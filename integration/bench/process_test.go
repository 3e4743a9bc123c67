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

// memory is the memory of a process, KiB.
type memory struct {
	// anon is the anonymous memory by its share (PSS): memory of this process alone.
	anon int
	// file is the share of mapped files. fileResident is all of the mapped files that is in
	// memory; the shims of a node share that memory.
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
