//go:build linux

package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJoinsWithoutCleanup(t *testing.T) {
	for version, want := range map[string]bool{
		"2.3.7+unknown": true, "v2.3.7": true, "2.0.14": true, "2.3.0-rc.1": true, "1.7.35": true,
		"2.4.2+unknown": false, "v2.4.0": false, "2.4.0-beta.1": false, "2.10.0": false, "3.0.0": false, "v3.1": false,
		"": true, "main": true, "v": true, "2": true, "2.x.1": true,
	} {
		require.Equal(t, want, JoinsWithoutCleanup(version), "version %q", version)
	}
}
