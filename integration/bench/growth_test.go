//go:build linux

package bench

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/counts"
	"github.com/oomwitness/oomwitness/integration/shimtest"
	"github.com/oomwitness/oomwitness/oom"
)

// grow skips a test that takes minutes and has no figure to be compared with.
func grow(t *testing.T) int {
	t.Helper()
	n := counts.FromEnv(t, "BENCH_GROWTH", 0)
	if n == 0 {
		t.Skip("needs BENCH_GROWTH, the runs of each size and side: make bench-growth")
	}
	return n
}

// TestByContainers runs one more container, and calls, in pods of 1, 10 and 40 containers.
func TestByContainers(t *testing.T) {
	runs, n := grow(t), node(t)
	for _, containers := range []int{1, 10, 40} {
		create, exit, call, anon := samples{}, samples{}, samples{}, samples{}
		pods := map[string]*shimtest.Shim{}
		for _, s := range sides(t) {
			n.SetShim(s.path)
			pods[s.name] = fill(t, n, s, 0, size{metric: fmt.Sprintf("growth-%d", containers), containers: containers})
		}
		for i := range runs {
			for _, s := range sides(t) {
				shim := pods[s.name]
				began := time.Now()
				c := n.RunIn(shim, name(s, fmt.Sprintf("more-%d", containers), i), shimtest.Args("exit", "0"))
				up := time.Now()
				_, err := c.Wait(deadline(t))
				require.NoError(t, err)
				create.took(s, up.Sub(began))
				exit.took(s, time.Since(up))
				began = time.Now()
				_, err = c.Delete(deadline(t))
				require.NoError(t, err)
				call.took(s, time.Since(began))
				require.NoError(t, c.Remove())
			}
		}
		for _, s := range sides(t) {
			anon.add(s, float64(memoryOf(t, pods[s.name]).anon))
		}
		beside := fmt.Sprintf("-beside-%d", containers)
		report(t, "create-and-start"+beside, "ms", 0, create)
		report(t, "exit-seen"+beside, "ms", 0, exit)
		report(t, "delete"+beside, "ms", 0, call)
		report(t, "private-memory"+beside, "KiB", 0, anon)
	}
}

// TestByPods starts one more shim on a node with 1, 20 and 60 pods.
func TestByPods(t *testing.T) {
	runs, n := grow(t), node(t)
	have := 0
	for _, pods := range []int{1, 20, 60} {
		for ; have < pods; have++ {
			s := sides(t)[have%2]
			n.SetShim(s.path)
			n.Run(fmt.Sprintf("pod-%d", have), shimtest.Sandbox(fmt.Sprintf("pod-%d", have)))
		}
		start := samples{}
		for i := range runs {
			for _, s := range sides(t) {
				n.SetShim(s.path)
				c := n.Run(name(s, fmt.Sprintf("one-%d", pods), i), shimtest.Args("exit", "0"))
				start.took(s, c.Shim.StartTook)
				end(t, c)
			}
		}
		report(t, fmt.Sprintf("start-process-beside-%d", pods), "ms", 0, start)
	}
}

// TestByCgroups runs a container to its OOM on a node with 10, 1000 and 5000 further cgroups.
func TestByCgroups(t *testing.T) {
	runs, n := grow(t), node(t)
	for _, cgroups := range []int{10, 1000, 5000} {
		remove := makeCgroups(t, cgroups)
		took := samples{}
		for i := range runs {
			for _, s := range sides(t) {
				n.SetShim(s.path)
				c := n.Run(name(s, fmt.Sprintf("oom-%d", cgroups), i), shimtest.Args("hog"), small)
				began := time.Now()
				_, err := c.Wait(deadline(t))
				require.NoError(t, err)
				took.took(s, time.Since(began))
				end(t, c)
			}
		}
		report(t, fmt.Sprintf("hog-to-exit-seen-beside-%d", cgroups), "ms", 0, took)
		remove()
	}
}

// TestByKills has the OOM killer end 1, 100 and 1000 children of one container, and measures
// the shim's CPU time from the container's start to its exit.
func TestByKills(t *testing.T) {
	runs, n := grow(t), node(t)
	for _, kills := range []int{1, 100, 1000} {
		cpu, took := samples{}, samples{}
		for i := range min(runs, 5) {
			for _, s := range sides(t) {
				n.SetShim(s.path)
				began := time.Now()
				c := n.Run(name(s, fmt.Sprintf("storm-%d", kills), i), shimtest.Args("storm", strconv.Itoa(kills)), small)
				_, err := c.Wait(deadline(t))
				require.NoError(t, err)
				took.took(s, time.Since(began))
				cpu.took(s, shimtest.CPUTime(t, c.Shim.Pid()))
				end(t, c)
			}
		}
		report(t, fmt.Sprintf("cpu-of-%d-kills", kills), "ms", 0, cpu)
		report(t, fmt.Sprintf("life-of-%d-kills", kills), "ms", 0, took)
	}
}

// makeCgroups makes n cgroups in the hierarchy of the memory controller.
func makeCgroups(t *testing.T, n int) (remove func()) {
	t.Helper()
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	root, err := os.MkdirTemp(h.Mount, "growth-")
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, os.Mkdir(fmt.Sprintf("%s/c%d", root, i), 0o755))
	}
	return func() {
		for i := range n {
			require.NoError(t, os.Remove(fmt.Sprintf("%s/c%d", root, i)))
		}
		require.NoError(t, os.Remove(root))
	}
}
