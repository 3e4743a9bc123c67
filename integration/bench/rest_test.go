//go:build linux

package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestSize compares the sizes of the files.
func TestSize(t *testing.T) {
	size := samples{}
	for _, s := range sides(t) {
		fi, err := os.Stat(s.path)
		require.NoError(t, err)
		size.add(s, float64(fi.Size()))
	}
	report(t, "binary-size", "bytes", 0.92, size)
}

// resting is a pod that does nothing.
type resting struct {
	side
	containers int
	shim       *shimtest.Shim
	cpu        time.Duration
}

// TestAtRest has pods of 1, 5 and 20 containers do nothing for BENCH_IDLE seconds, BENCH_PODS
// of each size and side. It measures their shims before and after.
func TestAtRest(t *testing.T) {
	n := node(t)
	var pods []*resting
	for i := range counts.FromEnv(t, "BENCH_PODS", 3) {
		for _, containers := range []int{1, 5, 20} {
			for _, s := range sides(t) {
				n.SetShim(s.path)
				pods = append(pods, &resting{side: s, containers: containers, shim: fill(t, n, s, i, containers)})
			}
		}
	}
	for _, p := range pods {
		p.cpu = shimtest.CPUTime(t, p.shim.Pid())
	}
	idle := time.Duration(counts.FromEnv(t, "BENCH_IDLE", 60)) * time.Second
	<-time.After(idle)

	file, cpu := samples{}, samples{}
	anon := map[int]samples{1: {}, 5: {}, 20: {}}
	for _, p := range pods {
		cpu.took(p.side, shimtest.CPUTime(t, p.shim.Pid())-p.cpu)
	}
	for _, p := range pods {
		m := memoryOf(t, p.shim)
		anon[p.containers].add(p.side, float64(m.anon))
		file.add(p.side, float64(m.fileResident))
	}
	wanted := map[int]float64{1: 0.75, 5: 0.78, 20: 0.80}
	for _, containers := range []int{1, 5, 20} {
		report(t, fmt.Sprintf("private-memory-of-%d", containers), "KiB", wanted[containers], anon[containers])
	}
	report(t, "resident-file-pages", "KiB", 0.95, file)
	report(t, fmt.Sprintf("cpu-idle-%v", idle), "ms", 1.00, cpu)
}

// fill makes a pod of containers that sleep.
func fill(t *testing.T, n *shimtest.Node, s side, i, containers int) *shimtest.Shim {
	t.Helper()
	id := name(s, fmt.Sprintf("rest-%d", containers), i)
	sandbox := n.Run(id, shimtest.Sandbox(id))
	for k := 1; k < containers; k++ {
		n.RunIn(sandbox.Shim, fmt.Sprintf("%s-%d", id, k))
	}
	return sandbox.Shim
}
