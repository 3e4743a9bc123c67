//go:build linux && faultpoints

package shim

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// faultEnv names the point at which the shim is to die: with "delete:" before it
// the one that removes a dead shim's container, and with "panic:" by a crash
// instead of the SIGKILL that the OOM killer sends.
const faultEnv = "OOMWITNESS_FAULT"

// faultPoint has the process die if this is the point at which it is to.
func faultPoint(name string) {
	point, crash := strings.CutPrefix(os.Getenv(faultEnv), "panic:")
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
