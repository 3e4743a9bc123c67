package plugin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why"
)

// TestGaps: whatever is missing from an agent's counts is said, and nothing where they are
// complete.
func TestGaps(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) *time.Time { return new(since.Add(time.Duration(minutes) * time.Minute)) }
	now := since.Add(time.Hour)
	for name, test := range map[string]struct {
		top  why.Top
		want []string
	}{
		"complete":        {why.Top{CompleteSince: at(-1)}, nil},
		"just complete":   {why.Top{CompleteSince: at(0)}, nil},
		"does not reach":  {why.Top{Time: now, CompleteSince: at(30)}, []string{"the counts do not reach back: they are complete since 2026-01-02T03:30:00Z (30m ago)"}},
		"an older agent":  {why.Top{}, []string{"since when the counts are complete is not known, because the agent does not say so"}},
		"rows left out":   {why.Top{CompleteSince: at(0), Omitted: 7}, []string{"7 more containers are in no row: an agent answers with 1000 at most, those with the most OOM kills"}},
		"victims are not": {why.Top{CompleteSince: at(0), Lost: 2}, []string{"2 victims are in no row: the ledger counted them and has no record of them"}},
	} {
		require.Equal(t, test.want, gaps(&test.top, since), name)
	}
}
