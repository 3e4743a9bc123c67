//go:build linux

package policy

import (
	"testing"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestStopSignal(t *testing.T) {
	for text, want := range map[string]unix.Signal{
		"SIGQUIT": unix.SIGQUIT, "quit": unix.SIGQUIT, "3": unix.SIGQUIT, "SIGWINCH": unix.SIGWINCH, "37": 37, "64": 64,
		"": 0, "0": 0, "-1": 0, "65": 0, "SIG": 0, "SIGNAL": 0, "RTMIN+3": 0, " 3": 0,
	} {
		require.Equal(t, want, stopSignal(text), "%q", text)
	}
}

// CRI sends nothing but stops; elsewhere a reload goes the same way.
func TestStops(t *testing.T) {
	pod, own, none := Policy{Pod: true}, Policy{StopSignal: unix.SIGUSR1}, Policy{}
	require.True(t, pod.Stops(unix.SIGHUP))
	require.True(t, own.Stops(unix.SIGUSR1))
	require.False(t, own.Stops(unix.SIGHUP))
	require.False(t, none.Stops(unix.SIGUSR1))
}

func FuzzStopSignal(f *testing.F) {
	f.Add("SIGTERM")
	f.Add("15")
	f.Fuzz(func(t *testing.T, text string) {
		s := stopSignal(text)
		require.True(t, s >= 0 && s <= oom.MaxSignal, "%q is %d", text, s)
	})
}
