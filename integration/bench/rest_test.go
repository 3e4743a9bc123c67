//go:build linux

package bench

import (
	"fmt"
	"os"
	"strings"
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
	size
	shim *shimtest.Shim
	cpu  time.Duration
}

// size is a kind of pod: how many containers, and whether each has written before it rests.
type size struct {
	metric     string
	containers int
	written    bool
	wanted     float64
}

var sizes = []size{
	{"private-memory-of-1", 1, false, 0.75},
	{"private-memory-of-5", 5, false, 0.78},
	{"private-memory-of-20", 20, false, 0.80},
	{"private-memory-of-20-written", 20, true, 0.80},
}

// TestAtRest has pods of 1, 5 and 20 containers do nothing for BENCH_IDLE seconds, BENCH_PODS
// of each size and side. It measures their shims before and after.
func TestAtRest(t *testing.T) {
	n := node(t)
	var pods []*resting
	for i := range counts.FromEnv(t, "BENCH_PODS", 3) {
		for _, size := range sizes {
			for _, s := range sides(t) {
				n.SetShim(s.path)
				pods = append(pods, &resting{side: s, size: size, shim: fill(t, n, s, i, size)})
			}
		}
	}
	for _, p := range pods {
		p.cpu = shimtest.CPUTime(t, p.shim.Pid())
	}
	idle := time.Duration(counts.FromEnv(t, "BENCH_IDLE", 60)) * time.Second
	<-time.After(idle)

	file, cpu := samples{}, samples{}
	anon := map[string]samples{}
	for _, p := range pods {
		cpu.took(p.side, shimtest.CPUTime(t, p.shim.Pid())-p.cpu)
	}
	for _, p := range pods {
		m := memoryOf(t, p.shim)
		if anon[p.metric] == nil {
			anon[p.metric] = samples{}
		}
		anon[p.metric].add(p.side, float64(m.anon))
		file.add(p.side, float64(m.fileResident))
	}
	for _, size := range sizes {
		report(t, size.metric, "KiB", size.wanted, anon[size.metric])
	}
	report(t, "resident-file-pages", "KiB", 0.95, file)
	report(t, fmt.Sprintf("cpu-idle-%v", idle), "ms", 1.00, cpu)
}

// stream is what a container writes before it rests, in bytes: more than one buffer.
const stream = 60 << 10

// fill makes a pod of containers that sleep, or that have copied a stream and wait for more.
func fill(t *testing.T, n *shimtest.Node, s side, i int, of size) *shimtest.Shim {
	t.Helper()
	id := name(s, of.metric, i)
	sandbox := n.Run(id, shimtest.Sandbox(id))
	for k := 1; k < of.containers; k++ {
		id := fmt.Sprintf("%s-%d", id, k)
		if !of.written {
			n.RunIn(sandbox.Shim, id)
			continue
		}
		c := n.RunIn(sandbox.Shim, id, shimtest.Args("cat"))
		text := strings.Repeat("x", stream)
		require.NoError(t, c.Stdio.Write(text))
		require.NoError(t, c.Stdio.WaitOutput(deadline(t), text))
	}
	return sandbox.Shim
}
