//go:build linux

package policy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A file of the group is put back when somebody else writes into it, from add to
// its end. Ordinary files stand for the kernel's here.
func TestTheGroupIsPutBack(t *testing.T) {
	var changes atomic.Uint64
	ctx, cancel := context.WithCancel(context.Background())
	e := NewEnforcer(ctx, nil, func(string) uint64 { return changes.Add(1) })
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
	end, err := e.add(group{"a", a, "1"})
	require.NoError(t, err)
	_, err = e.add(group{"b", b, "1"})
	require.NoError(t, err)
	holds(a, "1\n")
	holds(b, "1\n") // it was changed before
	put(a, "0\n")
	holds(a, "1\n")
	put(a, "0\n")
	holds(a, "1\n")
	require.Positive(t, changes.Load())

	end()
	put(a, "0\n")
	put(b, "0\n")
	holds(b, "1\n") // events come in their order
	holds(a, "0\n")
	_, err = e.add(group{"c", filepath.Join(t.TempDir(), "gone"), "1"})
	require.ErrorIs(t, err, os.ErrNotExist)

	cancel()
	events, err := e.events()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := events.Stat()
		return errors.Is(err, os.ErrClosed)
	}, time.Minute, time.Millisecond, "the instance ends with the shim")
	_, err = e.add(group{"b", b, "1"})
	require.ErrorContains(t, err, "closed file")
}
