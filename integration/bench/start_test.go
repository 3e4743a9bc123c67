//go:build linux

package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestStart starts BENCH_STARTS shims of each side. It counts what both processes of a start,
// the command and the shim's server, use until the server has answered its first call. Page
// faults do not depend on the machine's load.
func TestStart(t *testing.T) {
	n := node(t)
	took, cpu, faults := samples{}, samples{}, samples{}
	for i := range counts.FromEnv(t, "BENCH_STARTS", 100) {
		for _, s := range sides(t) {
			n.SetShim(s.path)
			b := n.NewBundle(name(s, "start", i), shimtest.Args("exit", "0"))
			shim, err := n.StartShim(deadline(t), b)
			require.NoError(t, err)
			_, err = shim.Task().Pids(deadline(t), &task.PidsRequest{ID: b.ID})
			require.Error(t, err, "there is no container")

			usage, ok := shim.StartState.SysUsage().(*syscall.Rusage)
			require.True(t, ok)
			took.took(s, shim.StartTook)
			cpu.took(s, shim.StartState.UserTime()+shim.StartState.SystemTime()+shimtest.CPUTime(t, shim.Pid()))
			faults.add(s, float64(usage.Minflt+usage.Majflt+faultsOf(t, shim.Pid())))
			shutdown(t, shim)
			require.NoError(t, b.Remove())
		}
	}
	report(t, "start-page-faults", "faults", 0.90, faults)
	report(t, "start-cpu", "ms", 0.95, cpu)
	report(t, "start-wall", "ms", 1.00, took)
}

// faultsOf returns how many page faults a process has had (proc(5): fields 10 and 12
// of /proc/PID/stat; the second field can hold spaces).
func faultsOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	require.Greater(t, len(fields), 9)
	var sum int64
	for _, field := range []string{fields[7], fields[9]} {
		n, err := strconv.ParseInt(field, 10, 64)
		require.NoError(t, err)
		sum += n
	}
	return sum
}
