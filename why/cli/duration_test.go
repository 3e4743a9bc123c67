package cli_test

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/cli"
)

// TestDurationVar: a flag reads days as well as hours, and shows its default.
func TestDurationVar(t *testing.T) {
	for text, want := range map[string]time.Duration{"1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "-5s": -5 * time.Second, "0": 0} {
		var d time.Duration
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		cli.DurationVar(flags, &d, "since", time.Minute, "how long")
		require.Equal(t, time.Minute, d)
		require.Contains(t, flags.FlagUsages(), "--since duration   how long (default 1m0s)")
		require.NoError(t, flags.Parse([]string{"--since", text}))
		require.Equal(t, want, d, text)
	}
	for _, wrong := range []string{"", "d", "1", "-1d", "1d-1h", "3661d", "1d90000h", "1.5d", "1h1d"} {
		_, err := cli.ParseDuration(wrong)
		require.Error(t, err, "%q", wrong)
	}
}
