// Package counts reads the numbers of runs, which make test-full raises.
package counts

import (
	"os"
	"strconv"
	"testing"
)

// FromEnv returns the number in the environment variable, or def if the variable is not set.
func FromEnv(t testing.TB, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("environment variable %s: %q is not a number of runs, which is 1 or more", name, text)
	}
	return n
}
