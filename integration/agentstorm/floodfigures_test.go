//go:build linux

package agentstorm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/agent"
)

// print prints the flood's line.
func (f *flood) print(t *testing.T, lasted time.Duration, cpu float64, limit int64) {
	t.Helper()
	require.NotEmpty(t, f.took)
	body, err := agent.Get(t.Context(), "/metrics")
	require.NoError(t, err)
	var sums []string
	for _, m := range []string{"oomwitness_ledger_victims_total", "oomwitness_ledger_lost_total", "oomwitness_cgroups", "oomwitness_cgroups_watched", "oomwitness_cgroups_skipped"} {
		n, err := agent.Sum(body, m)
		require.NoError(t, err)
		sums = append(sums, fmt.Sprintf("%s=%.0f", strings.TrimPrefix(m, "oomwitness_"), n))
	}
	skipped, err := agent.Sum(body, "oomwitness_events_total", `stage="skipped"`)
	require.NoError(t, err)
	t.Logf("metric=agent-flood seconds=%.0f tenants=%d kills=%d cgroups_made=%d pods_replaced=%d connections=%d good_kills=%d log_ms=%d..%d event_ms=%d..%d "+
		"rss_kib=%d %v limit_kib=%d cgroup_peak_kib=%d cpu_percent=%.1f events_skipped=%.0f %s",
		lasted.Seconds(), tenants, f.kills.Load(), f.made.Load(), f.replaced.Load(), f.calls.Load(), len(f.took),
		middle(f.inLog), slices.Max(f.inLog).Milliseconds(), middle(f.took), slices.Max(f.took).Milliseconds(),
		f.rss, f.charged, limit>>10, f.peak(t)>>10, cpu, skipped, strings.Join(sums, " "))
	for what, n := range map[string]int64{"kills": f.kills.Load(), "cgroups": f.made.Load(), "pods": f.replaced.Load(), "connections": f.calls.Load()} {
		require.Greater(t, n, int64(lasted.Seconds()/5), what)
	}
}

// middle is the median, in milliseconds.
func middle(list []time.Duration) int64 {
	return slices.Sorted(slices.Values(list))[len(list)/2].Milliseconds()
}

// peak is the most memory that the agent's cgroup had, with the kernel's and file pages,
// in bytes; 0 on a kernel that does not say so.
func (f *flood) peak(t *testing.T) (bytes int64) {
	t.Helper()
	file := map[int]string{1: "memory.max_usage_in_bytes", 2: "memory.peak"}[f.pods.hierarchy.Version]
	data, err := os.ReadFile(filepath.Join(f.cgroup, file))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	_, err = fmt.Sscan(string(data), &bytes)
	require.NoError(t, err)
	return bytes
}
