package oom

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTextOfAKill(t *testing.T) {
	victim := Victim{PID: 812, Comm: "runc:[2:INIT]", Limit: 7}
	memory := &Memory{Usage: 64 << 20, Limit: 64 << 20, Shmem: 60 << 20, Anon: 4 << 20}
	for want, k := range map[string]Killed{
		"runc:[2:INIT] (pid 812) at the limit of its own cgroup":                       {Victim: victim, Own: true},
		"runc:[2:INIT] (pid 812) at the limit of the cgroup with ID 7, which has gone": {Victim: victim, Memory: &Memory{}},
		"runc:[2:INIT] (pid 812) since the node's memory was full":                     {Victim: Victim{PID: 812, Comm: "runc:[2:INIT]", Cause: CauseNode}},
		"runc:[2:INIT] (pid 812)": {Victim: Victim{PID: 812, Comm: "runc:[2:INIT]"}},
		"runc:[2:INIT] (pid 812) at the limit of the cgroup /kubepods/pod1: 64.0 MiB of 64.0 MiB: shared memory 60.0 MiB, anonymous 4.0 MiB": {
			Victim: Victim{PID: 812, Comm: "runc:[2:INIT]", Limit: 7, LimitPath: "/kubepods/pod1"}, Memory: memory,
		},
	} {
		require.Equal(t, want, k.String())
	}
}
