package install

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCanDoWithout: uninstall refuses if dockerd would not start without the runtime. If
// dockerd would not start with the runtime either, uninstall goes on.
func TestCanDoWithout(t *testing.T) {
	program := filepath.Join(t.TempDir(), "dockerd")
	for script, want := range map[string]string{
		"exit 0": "",
		"exit 1": "",
		`for file; do :; done; grep -q oomwitness "${file#*=}" || { echo no such runtime >&2; exit 1; }`: "no such runtime",
	} {
		require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		err := dockerd{program: program, runs: true}.canDoWithout(t.Context(), []byte(`{"runtimes":{"oomwitness":{}}}`), nil)
		if want == "" {
			require.NoError(t, err, script)
			continue
		}
		require.ErrorIs(t, err, errRefused)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, dockerd{}.canDoWithout(t.Context(), nil, nil), "nobody to ask")
}
