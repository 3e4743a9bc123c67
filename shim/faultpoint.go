//go:build linux && faultpoints

package shim

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// faultEnv names the point at which the shim is to die, after a "panic:" if it
// is not to be killed but to crash.
const faultEnv = "OOMWITNESS_FAULT"

// faultPoint has the shim die if this is the point at which it is to. SIGKILL is
// what the OOM killer sends.
func faultPoint(name string) {
	point, crash := strings.CutPrefix(os.Getenv(faultEnv), "panic:")
	if point != name {
		return
	}
	if crash {
		panic("fault point: " + name)
	}
	fmt.Fprintln(os.Stderr, "fault point:", name)
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // it does not come back
}
