package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/agent/internal/store"
)

// TestOpensAlways: a disk that gives nothing is no reason not to count, and when it is
// back all is there that came meanwhile.
func TestOpensAlways(t *testing.T) {
	for name, test := range map[string]struct {
		// spoil makes the directory unfit, and returns what heals it.
		spoil func(t *testing.T, dir string) (heal func())
		// before says that an earlier journal is there, kept that it is read all the same.
		before, kept bool
		want         error
	}{
		"full, first start":      {spoil: agenttest.Fill, want: unix.ENOSPC},
		"full":                   {spoil: agenttest.Fill, before: true, kept: true, want: unix.ENOSPC},
		"read-only, first start": {spoil: agenttest.ReadOnly, want: unix.EROFS},
		"read-only":              {spoil: agenttest.ReadOnly, before: true, kept: true, want: unix.EROFS},
		"directory that can't be used": {before: true, want: unix.EACCES, spoil: func(t *testing.T, dir string) func() {
			state := filepath.Join(dir, "state")
			require.NoError(t, os.Chmod(state, 0))
			return func() { require.NoError(t, os.Chmod(state, 0o700)) }
		}},
		"journal that can't be read": {before: true, want: unix.EACCES, spoil: func(t *testing.T, dir string) func() {
			require.NoError(t, os.Chmod(filepath.Join(dir, "state", "journal"), 0))
			return func() {}
		}},
		"a file in its place": {want: unix.ENOTDIR, spoil: func(t *testing.T, dir string) func() {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "state"), nil, 0o600))
			return func() { require.NoError(t, os.Remove(filepath.Join(dir, "state"))) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := agenttest.Disk(t)
			state := filepath.Join(dir, "state")
			if test.before {
				j, _ := open(t, state, boot)
				require.NoError(t, j.Add(true, one(1)))
				require.NoError(t, j.Close())
			}
			heal := test.spoil(t, dir)
			agenttest.Unprivileged(t)

			j, fresh, _, err := store.Open(state, boot, began)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, j.Close()) })
			require.ErrorIs(t, j.Err(), test.want)
			require.Equal(t, !test.kept, fresh)
			require.Equal(t, test.kept, j.Has(record(1)))
			err = j.Add(true, one(2))
			require.True(t, err == nil || errors.Is(err, test.want), "%v", err)
			require.True(t, j.Has(record(2)), "in memory")
			heal()
			require.NoError(t, j.Retry())
			require.NoError(t, j.Err())
			require.NoError(t, j.Close())

			j, fresh = open(t, state, boot)
			require.False(t, fresh)
			require.True(t, j.Has(record(2)), "and on disk")
			require.Equal(t, test.kept, j.Has(record(1)))
		})
	}
}
