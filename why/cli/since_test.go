package cli_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/cli"
)

var since = time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)

func TestParseSince(t *testing.T) {
	for text, ago := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h": time.Hour, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "1d12h": 36 * time.Hour,
		"7d": 168 * time.Hour, "2d0s": 48 * time.Hour, "500ms": time.Second / 2, "2026-01-10T11:00:00Z": time.Hour,
		"2026-01-10T12:00:00+02:00": 2 * time.Hour, "2026-01-10T12:00:00Z": 0, "3660d": 3660 * 24 * time.Hour,
	} {
		at, err := cli.ParseSince(text, since)
		require.NoError(t, err, text)
		require.WithinDuration(t, since.Add(-ago), at, 0, text)
	}
	for _, all := range []string{"", "0", "0s", "0d", "0d0s"} {
		at, err := cli.ParseSince(all, since)
		require.NoError(t, err, all)
		require.True(t, at.IsZero(), all)
	}
	for _, wrong := range []string{
		"-1s", "-1d", "1d-1h", "d", "1", "1 d", "1.5d", "1D", "1dd", "1d1d", "1h1d", "+1d", "yesterday", "1w", "99999d", "999999h", "3661d",
		"65535d2562047h", "2026-01-10", "2026-01-10T12:00:01Z", "1969-12-31T00:00:00Z", "2026-13-01T00:00:00Z", "1d\n", "١d", "1e9h", " ",
	} {
		_, err := cli.ParseSince(wrong, since)
		require.ErrorContains(t, err, "allowed are how long ago, such as 90s, 12h, 1d", "%q", wrong)
	}
}

// FuzzSince: any text is refused, or means all, or means a past time within maxAgo.
func FuzzSince(f *testing.F) {
	for _, text := range []string{"1d", "1d12h", "90s", "65535d", "-1h", "1d-1h", "9223372036854775807ns", "3660d", "2026-01-02T15:04:05Z", "2026-01-02T15:04:05.5+23:59"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := cli.ParseSince(text, since)
		if err != nil {
			require.True(t, at.IsZero())
			return
		}
		require.False(t, at.After(since), text)
		if !at.IsZero() {
			require.GreaterOrEqual(t, at.Year(), 1970-1, text)
		}
	})
}
