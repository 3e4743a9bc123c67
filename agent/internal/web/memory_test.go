package web

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/events"
	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/exits"
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

// TestFilled: the bar has each kind there is, and what no kind has. Where the kinds are not
// known, the bar is of the killed processes, and says so.
func TestFilled(t *testing.T) {
	const mib = 1 << 20
	killed := []events.Victim{{Memory: events.Memory{Anon: new(uint64(3 * mib)), File: new(uint64(mib))}}}
	for name, tc := range map[string]struct {
		memory  *oom.Memory
		victims []events.Victim
		text    string
	}{
		"all kinds": {
			&oom.Memory{Usage: 100 * mib, Anon: 40 * mib, File: 20 * mib, Shmem: 20 * mib, Kernel: 10 * mib}, killed,
			"What filled the memory: anonymous 40%, page cache 20%, shared memory 20%, kernel 10%, other 10%",
		},
		"more kinds than usage": {&oom.Memory{Usage: mib, Anon: 2 * mib}, killed, "What filled the memory: anonymous 100%"},
		"nearly all":            {&oom.Memory{Usage: 1000 * mib, Anon: 1000*mib - 1}, nil, "What filled the memory: anonymous >99%, other <1%"},
		"swap":                  {&oom.Memory{Usage: mib, Anon: mib, Swap: 5 * mib}, nil, "What filled the memory, beside 5.0 MiB in swap: anonymous 100%"},
		"not recorded":          {nil, killed, "The memory of the killed process. What filled the rest is not known: anonymous 75%, page cache 25%"},
		"kinds not known":       {&oom.Memory{Usage: mib, Unknown: []string{"kinds"}}, killed, "The memory of the killed process. What filled the rest is not known: anonymous 75%, page cache 25%"},
		"nothing known":         {nil, []events.Victim{{}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFilled(tc.memory, tc.victims)
			if tc.text == "" {
				require.Nil(t, f)
				return
			}
			require.Equal(t, tc.text, f.Text)
			require.Equal(t, strings.HasPrefix(tc.text, "The memory of the killed"), f.OfProcess)
		})
	}
	hidden := newRow(&query{}, &Event{}, &oom.Memory{Usage: mib, Anon: mib}, time.Now())
	require.Nil(t, hidden.Filled, "of somebody else")
}

// TestSuggest: a field offers what goes with the other fields, and not without bound.
func TestSuggest(t *testing.T) {
	var list []*Entry
	for i := range 2 * maxSuggestions {
		list = append(list, &Entry{OOMEvent: events.OOMEvent{Victims: []events.Victim{
			{Pod: &events.Pod{Namespace: "shop", Name: fmt.Sprint("web-", i)}, Container: &events.Container{Name: "app"}}, {Comm: "outside"},
		}}})
	}
	ended := []exits.Exit{{Pod: &exits.Pod{Namespace: "bank", Name: "db-0", Container: "db"}}, {ID: "outside"}}
	all := suggest(&query{}, list, ended)
	require.Equal(t, suggestions{"namespaces", []string{"bank", "shop"}}, all[0])
	require.Len(t, all[1].Names, maxSuggestions)
	require.Equal(t, suggestions{"containers", []string{"app", "db"}}, all[2])
	some := suggest(&query{namespace: "bank"}, list, ended)
	require.Equal(t, []suggestions{{"namespaces", []string{"bank", "shop"}}, {"pods", []string{"db-0"}}, {"containers", []string{"db"}}}, some)
}
