//go:build linux

package agentstorm

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sample is what the agent was at one moment of a soak.
type sample struct {
	at time.Duration // since the soak began
	// own is its memory, KiB.
	own, fds, goroutines int
	// cgroups are known to it, watched by it; series are of its kills.
	cgroups, watched, series int
}

// around returns the medians of a figure in the first and in the last third of the
// samples that were taken at a time or later; 0 and 0 where they are fewer than
// three.
func around(samples []sample, from time.Duration, of func(sample) int) (first, last int) {
	var values []int
	for _, s := range samples {
		if s.at >= from {
			values = append(values, of(s))
		}
	}
	third := len(values) / 3
	if third == 0 {
		return 0, 0
	}
	return median(values[:third]), median(values[len(values)-third:])
}

func median(values []int) int {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// TestAround: growth is seen for what it is, whatever single samples are.
func TestAround(t *testing.T) {
	own := func(s sample) int { return s.own }
	var flat, growing []sample
	for i := range 900 {
		at := time.Duration(i) * time.Second
		saw := 8000 + 40*(i%50) // as between two collections
		flat = append(flat, sample{at: at, own: saw})
		growing = append(growing, sample{at: at, own: saw + 5*i})
	}
	flat[0].own, flat[899].own = 90000, 90000
	first, last := around(flat, 0, own)
	require.InDelta(t, first, last, 40)
	first, last = around(growing, 0, own)
	require.InDelta(t, 600*5, last-first, 40, "from the middle of one third to that of the other")
	first, last = around(growing, 300*time.Second, own)
	require.InDelta(t, 400*5, last-first, 40)
	first, last = around(flat, time.Hour, own)
	require.Zero(t, first+last)
}
