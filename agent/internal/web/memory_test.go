package web

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/why"
)

// TestMemoryShown: what filled the memory is shown where its size is, and processes where
// they are the pod's own.
func TestMemoryShown(t *testing.T) {
	inPod, outside := events.Victim{Comm: "a", Pod: &events.Pod{UID: "u"}}, events.Victim{Comm: "b"}
	kinds := []why.Kind{{Name: why.KindShmem, Bytes: 7 << 20}}
	for name, tc := range map[string]struct {
		cause      oom.Cause
		victims    []events.Victim
		all        bool
		kinds      []why.Kind
		candidates []why.Candidate
	}{
		"container":             {oom.CauseContainer, []events.Victim{inPod}, false, kinds, []why.Candidate{{Comm: "java", RSS: 3}}},
		"ancestor":              {oom.CauseAncestor, []events.Victim{inPod}, false, kinds, nil},
		"node":                  {oom.CauseNode, []events.Victim{inPod, outside}, false, kinds, nil},
		"of nobody's pod":       {oom.CauseContainer, []events.Victim{outside}, false, nil, nil},
		"of nobody's pod, all":  {oom.CauseContainer, []events.Victim{outside}, true, kinds, []why.Candidate{{PID: 9, Comm: "java", RSS: 3}}},
		"node, to the node all": {oom.CauseNode, []events.Victim{inPod}, true, kinds, []why.Candidate{{PID: 9, Comm: "java", RSS: 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			out := shown(&Entry{Killed: len(tc.victims), OOMEvent: events.OOMEvent{
				Cause: tc.cause, Victims: tc.victims,
				Memory: &oom.Memory{Shmem: 7 << 20, Candidates: []oom.Candidate{{PID: 9, Comm: "java", RSS: 3}}},
			}}, tc.all)
			require.Equal(t, tc.kinds, out.Kinds)
			require.Equal(t, tc.candidates, out.Candidates)
			if tc.kinds != nil {
				require.True(t, out.sized)
			}
		})
	}
}
