package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJoinsWithoutCleanup(t *testing.T) {
	for version, want := range map[string]bool{
		"2.3.7+unknown": true, "2.0.14": true, "2.3.0-rc.1": true,
		"2.4.2+unknown": false, "2.10.0": false, "3.0.0": false, "1.7.35": false,
		"": false, "main": false, "v2.3.7": false,
	} {
		require.Equal(t, want, JoinsWithoutCleanup(version), "version %q", version)
	}
}
