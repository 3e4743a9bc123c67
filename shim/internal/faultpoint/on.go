//go:build linux && faultpoints

package faultpoint

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// env names the point at which the shim is to die: with "delete:" before it
// the one that removes a dead shim's container, and with "panic:" by a crash
// instead of the SIGKILL that the OOM killer sends.
const env = "OOMWITNESS_FAULT"

// Reach has the process die if this is the point at which it is to.
func Reach(name string) {
	point, crash := strings.CutPrefix(os.Getenv(env), "panic:")
	point, remover := strings.CutPrefix(point, "delete:")
	if point != name || remover != slices.Contains(os.Args, "delete") {
		return
	}
	if crash {
		panic("fault point: " + name)
	}
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // nothing of it runs on
}
