//go:build linux

package faults

import (
	"github.com/oomwitness/oomwitness/integration/mix"
)

// kind is a way for a container to end.
type kind struct {
	name   string
	code   int32
	reason string
	// mode is what the workload is told to do when its moment has come; empty
	// where the client stops it.
	mode string
	// before is what the workload does from the start.
	before []string
	// undated says that nobody can tell CRI when it ended.
	undated bool
}

const oomKilled = "OOMKilled"

// kinds are those of the issue. The client's stop comes in two forms: in one an
// earlier kill of a child must not taint it.
var (
	kindOOM  = kind{name: "oom", code: 137, reason: oomKilled, mode: "hog"}
	kindStop = kind{name: "stop", code: 143, reason: "Error", before: []string{"/workload", "trap-term", "143"}}
	kinds    = []kind{
		kindOOM,
		{name: "exit3", code: 3, reason: "Error", mode: "exit 3"},
		{name: "exit0", code: 0, reason: "Completed", mode: "exit 0"},
		kindStop,
	}
	kindStopTainted = kind{
		name: "stop", code: 143, reason: "Error", before: []string{"/workload", "child-oom-sleep"},
	}
)

// limit is small, so that the guest's own memory is never what runs out.
const limit = 24 * mix.MiB

// line is the container's command: a workload that is told its mode waits for it
// at a pipe, so that its end needs nobody but the test.
func (k kind) line() []string {
	if k.mode == "" {
		return k.before
	}
	return []string{"/bin/sh", "-c", "read -r mode </ctl/go; exec /workload $mode"}
}
