package oom

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// statusSignal is what a shell and containerd add to a signal's number to make
// the exit status of a process that died of it.
const statusSignal = 128

// firstRealtime is the first signal that the kernel calls a real-time signal. glibc
// keeps two of them for itself: what an image calls RTMIN+3 is 37.
const firstRealtime = 32

// stopSignals are the signals whose purpose is to stop, whatever the image says.
// SIGPWR and the real-time signals stop an init such as systemd, which is stopped by
// RTMIN+3.
var stopSignals = []unix.Signal{
	unix.SIGTERM, unix.SIGKILL, unix.SIGINT, unix.SIGQUIT, unix.SIGABRT, unix.SIGPWR,
}

// Stop is a signal that containerd asked the shim to send to init, before the
// exit.
type Stop struct {
	Signal unix.Signal
	// Kills is what the best evidence counted when the signal was asked for.
	Kills uint64
	// At is when the signal was asked for. It is zero where a dead shim's init is
	// removed.
	At time.Time
	// Declared is true if the image or the pod has chosen the signal to stop the
	// container.
	Declared bool `json:",omitempty"`
}

// purpose reports whether the purpose of the signal is to stop. SIGHUP, SIGUSR1,
// SIGWINCH and the like have another purpose, unless the image has declared them.
func (s Stop) purpose() bool {
	return s.Declared || s.Signal >= firstRealtime || slices.Contains(stopSignals, s.Signal)
}

// status is the exit status of a process that died of the signal.
func (s Stop) status() int { return statusSignal + int(s.Signal) }
