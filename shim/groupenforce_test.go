//go:build linux

package shim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A file of the group is put back when somebody else writes into it, from add to
// forget. Ordinary files stand for the kernel's here.
func TestTheGroupIsPutBack(t *testing.T) {
	counts := newCounters()
	g := newGroupEnforcer(context.Background(), counts)
	put := func(path, text string) { // in one step, as the kernel's change
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, errors.Join(err, f.Close()))
	}
	holds := func(path, text string) {
		t.Helper()
		require.Eventually(t, func() bool {
			data, err := os.ReadFile(path)
			return err == nil && string(data) == text
		}, time.Minute, time.Millisecond)
	}
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	put(a, "1\n")
	put(b, "0\n")
	require.NoError(t, g.add(&enforcedGroup{"a", a, "1"}))
	require.NoError(t, g.add(&enforcedGroup{"b", b, "1"}))
	holds(a, "1\n")
	holds(b, "1\n") // it was changed before
	put(a, "0\n")
	holds(a, "1\n")
	put(a, "0\n")
	holds(a, "1\n")
	require.Positive(t, counts.of("memory.oom.group changed"))

	g.forget("a")
	put(a, "0\n")
	put(b, "0\n")
	holds(b, "1\n") // events come in their order
	holds(a, "0\n")
	require.Error(t, g.add(&enforcedGroup{"c", filepath.Join(t.TempDir(), "gone"), "1"}))
	g.forget("c")

	require.NoError(t, g.close())
	require.NoError(t, newGroupEnforcer(context.Background(), counts).close(), "nobody asked")
}
