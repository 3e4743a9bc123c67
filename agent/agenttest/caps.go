// Package agenttest is what tests of the agent's packages share.
package agenttest

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Unprivileged has this thread do without the capabilities that read and write
// everything, as the agent's chart and unit do, until the test ends. A test calls it in
// its own goroutine.
func Unprivileged(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &before[0]))
	without := before
	without[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	require.NoError(t, unix.Capset(&header, &without[0]))
	t.Cleanup(func() {
		require.NoError(t, unix.Capset(&header, &before[0]))
		runtime.UnlockOSThread()
	})
}
