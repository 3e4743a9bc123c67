package exits

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A record has a line for each checkpoint, and the last whole line counts.
func TestReadBundle(t *testing.T) {
	const (
		lives = `{"version":3,"id":"c","boot":"b","pid":7,"startTicks":9,"probes":{"ledger":{}}}` + "\n"
		ended = `{"version":3,"id":"c","boot":"b","pid":7,"startTicks":9,"stops":[{"Signal":15}],"exitStatus":1,` +
			`"exitedAt":"2026-11-30T02:00:00Z","verdict":{"oomKilled":true,"cause":"container","initVictim":"no","kills":1,"ended":"oom","rule":1,"evidence":"ledger"},` +
			`"acknowledged":true,"oomExitCode":9}` + "\n"
	)
	for name, tc := range map[string]struct {
		text     string
		exit     bool
		reported int
	}{
		"alive":                   {lives, false, 0},
		"ended":                   {lives + ended, true, 9},
		"a line is being added":   {lives + ended + `{"vers`, true, 9},
		"the verdict is on way":   {lives + ended[:40], false, 0},
		"one line without end":    {ended[:len(ended)-1], true, 9},
		"the first without end":   {lives[:len(lives)-1], false, 0},
		"two lines of one moment": {lives + lives, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, recordFile), []byte(tc.text), 0o600))
			e, l, err := ReadBundle(dir, "default")
			require.NoError(t, err)
			require.Equal(t, tc.exit, e != nil)
			require.Equal(t, !tc.exit, l != nil)
			if tc.exit {
				require.Equal(t, tc.reported, e.Reported)
				require.Equal(t, []int{15}, e.Stops)
			}
		})
	}
}
