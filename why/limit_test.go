package why_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// TestUsedAtOOM: what the container used at its OOM kill takes the place of a peak that is not
// known, and is not called a peak. In all other cases nothing is claimed.
func TestUsedAtOOM(t *testing.T) {
	noPeak := func(r *why.Run) {
		r.Memory.Peak = nil
		r.Lacks("peak_bytes", "memory.peak was not there")
	}
	for name, test := range map[string]struct {
		cause  string
		change func(*why.Run)
		want   *uint64
	}{
		"the container's own limit": {"container", noPeak, mi(64)},
		"the peak is known":         {"container", func(*why.Run) {}, nil},
		"the pod's limit":           {"pod", noPeak, nil},
		"the node":                  {"node", noPeak, nil},
		"a nested cgroup":           {"container", func(r *why.Run) { noPeak(r); r.OOM.LimitBytes, r.OOM.UsageBytes = mi(16), mi(16) }, nil},
		"the limit is not known":    {"container", func(r *why.Run) { noPeak(r); r.Memory.Limit = nil }, nil},
		"no limit of the event":     {"container", func(r *why.Run) { noPeak(r); r.OOM.LimitBytes = nil }, nil},
		"no use of the event":       {"container", func(r *why.Run) { noPeak(r); r.OOM.UsageBytes = nil }, nil},
		"read after the kill":       {"container", func(r *why.Run) { noPeak(r); r.OOM.Kinds = nil }, nil},
		"no event":                  {"container", func(r *why.Run) { noPeak(r); r.OOM = nil }, nil},
		"the kill did not end it":   {"container", func(r *why.Run) { noPeak(r); r.Verdict.Ended = why.EndedExited }, nil},
		"an event of another cause": {"container", func(r *why.Run) { noPeak(r); r.OOM.Cause = "pod" }, nil},
	} {
		r := run(why.EndedOOM, 137, time.Minute, oomKilled(test.cause, "init"), test.change)
		require.Equal(t, test.want, r.Memory.UsedAtOOM, name)
		var page strings.Builder
		require.NoError(t, document(r).Write(&page, why.Options{Location: time.UTC}))
		if test.want != nil {
			require.Contains(t, page.String(), "  memory       limit 64.0Mi, request 32.0Mi, 64.0Mi (100% of the limit) in use\n               at the OOM kill\n"+
				"               peak not known, because memory.peak was not there\n", name)
			continue
		}
		require.NotContains(t, page.String(), "in use at", name)
	}
}
