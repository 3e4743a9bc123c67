package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentedSettings: the file that docs/annotations.md shows has every key, and the
// defaults.
func TestDocumentedSettings(t *testing.T) {
	page, err := os.ReadFile("../../docs/annotations.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(page), "```toml\n")
	require.True(t, found)
	block, _, _ = strings.Cut("\n"+block, "```")
	documented, err := Parse([]byte(block))
	require.NoError(t, err)
	require.Equal(t, Default(), documented)
	for _, key := range []string{"hold_timeout", "grace", "report", "allow"} {
		require.Contains(t, block, "\n"+key+" =", "every setting is shown")
	}
}
