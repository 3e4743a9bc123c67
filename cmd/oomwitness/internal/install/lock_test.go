package install_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
)

// TestLockIsGivenUp: an install that waits for another one can be interrupted, and has written
// nothing.
func TestLockIsGivenUp(t *testing.T) {
	o := tree(t)
	dir, err := os.Open(string(o.Root))
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, unix.Flock(int(dir.Fd()), unix.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = install.Install(ctx, o)
	require.ErrorContains(t, err, "another install or uninstall works there: context deadline exceeded")
	require.Empty(t, files(t, o.Root))

	require.NoError(t, unix.Flock(int(dir.Fd()), unix.LOCK_UN))
	_, err = install.Install(t.Context(), o)
	require.NoError(t, err)
}
