package oom

import (
	"fmt"
	"time"
)

// Witness is a source that knows of kills before a container is there to be armed.
type Witness interface {
	Source
	// KilledBelow returns the kills since a time of processes that this process, the
	// shim, has started, directly or not: oldest first.
	KilledBelow(shim int, since time.Time) ([]Killed, error)
}

// Killed is a kill with all that is known of its OOM event.
type Killed struct {
	Victim
	Memory *Memory // nil where it is not known
	// Own is true if the limit is that of the victim's own cgroup.
	Own bool
}

// String returns the kill for an error message, such as "runc:[2:INIT] (pid 812) at the
// limit of the cgroup /kubepods/pod1, 64.0 MiB, with 63.9 MiB: shared memory 60.0 MiB".
func (k Killed) String() string {
	text := fmt.Sprintf("%s (pid %d)", k.Comm, k.PID)
	switch {
	case k.Own:
		text += " at the limit of its own cgroup"
	case k.LimitPath != "":
		text += " at the limit of the cgroup " + k.LimitPath
	case k.Limit != 0:
		text += fmt.Sprintf(" at the limit of the cgroup with ID %d, which has gone", k.Limit)
	case k.Cause == CauseNode:
		text += " since the node's memory was full"
	}
	if k.Memory == nil || k.Memory.Usage == 0 {
		return text
	}
	return text + ": " + k.Memory.String()
}
