//go:build linux

package policy

import (
	"strconv"
	"strings"

	"github.com/oomwitness/oomwitness/oom"
	"golang.org/x/sys/unix"
)

// imageStopSignal is the annotation by which a runtime spec has the stop signal of the
// image (OCI image-spec, conversion.md). Podman writes it; containerd's client, CRI and
// Docker do not.
const imageStopSignal = "org.opencontainers.image.stopSignal"

// stopSignal reads a signal by number or by name, with or without "SIG". It returns 0 for
// what is none: the annotation comes with an image, and an image must not fail for it.
// Real-time signals need no name here, since oom.Decide takes each for a stop.
func stopSignal(text string) unix.Signal {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 || n > oom.MaxSignal {
			return 0
		}
		return unix.Signal(n)
	}
	return unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG"))
}

// Stops reports whether containerd asks for a signal in order to stop the container,
// whatever the signal means elsewhere: the image has chosen the signal, or CRI sends it.
// CRI sends an init nothing but SIGKILL and the stop signal of the pod or the image
// (containerd internal/cri/server/container_stop.go).
func (p Policy) Stops(s unix.Signal) bool { return p.Pod || s == p.StopSignal }
