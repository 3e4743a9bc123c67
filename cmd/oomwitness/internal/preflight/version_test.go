package preflight

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRelease(t *testing.T) {
	for text, want := range map[string][2]int{
		"6.12.9-cloud-amd64": {6, 12}, "v2.4.2": {2, 4}, "5.10-rc1": {5, 10}, "2.1.0-beta.0\n": {2, 1},
	} {
		major, minor, known := release(text)
		require.True(t, known, text)
		require.Equal(t, want, [2]int{major, minor}, text)
	}
	for _, text := range []string{"", "6", "x.y", ".", "v.1"} {
		_, _, known := release(text)
		require.False(t, known, text)
	}
	require.True(t, atLeast(3, 0, 2, 1))
	require.False(t, atLeast(2, 0, 2, 1))
}

func TestRunProgram(t *testing.T) {
	out, err := runProgram(t.Context(), "/bin/sh", "-c", "echo hello")
	require.NoError(t, err)
	require.Equal(t, "hello\n", out)
	_, err = runProgram(t.Context(), "/bin/sh", "-c", "echo why >&2; exit 3")
	require.EqualError(t, err, "exit status 3: why")
}
