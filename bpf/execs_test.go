package bpf

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// TestLineageBySession: what an exec'd process has left behind is not init's, although init
// is its parent. A session whose number an exec'd process had before is.
func TestLineageBySession(t *testing.T) {
	const late = 1<<32 + 5 // 497 days after boot
	init, shim := TaskKey{TGID: 20, StartTicks: late - 90}, TaskKey{TGID: 10, StartTicks: 7}
	pause := TaskKey{TGID: 19, StartTicks: late - 91}
	orphan := TaskKey{TGID: 31, StartTicks: late + 15}
	ran := execProcess{PID: 30, Ran: [2]uint64{late + 10, late + 20}}
	runs := execProcess{PID: 30, Ran: [2]uint64{late + 10}}
	early := execProcess{PID: 30, Ran: [2]uint64{0, late + 20}}
	known, node := family{init: init, shim: shim}, family{init: init, shim: shim, nodePIDs: true}
	for name, c := range map[string]struct {
		family    family
		start     uint64
		ancestors []TaskKey
		session   uint32
		execd     []execProcess
		want      oom.Lineage
	}{
		"an orphan of an exec that has ended":   {known, late + 20, []TaskKey{init, shim}, 30, []execProcess{ran}, oom.LineageExec},
		"an orphan of an exec that runs":        {known, late + 90, []TaskKey{init, shim}, 30, []execProcess{runs}, oom.LineageExec},
		"the orphan's child":                    {known, late + 90, []TaskKey{orphan, init, shim}, 30, []execProcess{ran}, oom.LineageExec},
		"the orphan's grandchild":               {known, late + 90, []TaskKey{{TGID: 32, StartTicks: late + 80}, orphan, init, shim}, 30, []execProcess{ran}, oom.LineageExec},
		"an orphan in a shared PID namespace":   {known, late + 15, []TaskKey{pause, shim}, 30, []execProcess{ran}, oom.LineageExec},
		"an orphan in the node's PID namespace": {node, late + 15, []TaskKey{shim}, 30, []execProcess{ran}, oom.LineageExec},
		"of the second of two":                  {known, late + 95, []TaskKey{init, shim}, 30, []execProcess{ran, {PID: 30, Ran: [2]uint64{late + 90}}}, oom.LineageExec},
		"of init's session":                     {known, late + 15, []TaskKey{init, shim}, 20, []execProcess{ran}, oom.LineageDescendant},
		"of another session":                    {known, late + 15, []TaskKey{init, shim}, 31, []execProcess{ran}, oom.LineageDescendant},
		"of a session before the exec":          {known, late + 9, []TaskKey{init, shim}, 30, []execProcess{ran}, oom.LineageDescendant},
		"of a session after the exec":           {known, late + 21, []TaskKey{init, shim}, 30, []execProcess{ran}, oom.LineageDescendant},
		"of a session between two":              {known, late + 40, []TaskKey{init, shim}, 30, []execProcess{ran, {PID: 30, Ran: [2]uint64{late + 90}}}, oom.LineageDescendant},
		"of an exec that nobody saw begin":      {known, late + 15, []TaskKey{init, shim}, 30, []execProcess{early}, oom.LineageDescendant},
		"of programs without sessions":          {known, late + 15, []TaskKey{init, shim}, 0, []execProcess{{Ran: [2]uint64{late + 10}}}, oom.LineageDescendant},
	} {
		r := Record{TGID: 40, StartTicks: c.start, Depth: uint32(len(c.ancestors)), Session: c.session}
		for i, a := range c.ancestors {
			r.Ancestors[i] = a.ref()
		}
		if c.ancestors[0] == pause {
			r.NSInits = 1
		}
		require.Equal(t, c.want, (&probe{family: c.family, execd: c.execd}).lineage(&r), name)
	}
	require.Equal(t, oom.LineageInit, (&probe{family: known, execd: []execProcess{runs}}).lineage(&Record{TGID: 20, StartTicks: init.StartTicks, Session: 30}))
}

// TestExecs enters the ends of exec'd processes before and after their starts, and as many as
// a pod with a probe has: the newest are kept.
func TestExecs(t *testing.T) {
	p := new(probe)
	p.Execed(30, 5*tick, false)
	p.Execed(31, 7*tick, true) // a process that ended while its Start went on
	p.Execed(31, 6*tick, false)
	p.Execed(30, 8*tick, true)
	p.Execed(30, 9*tick, false) // its PID again
	require.Equal(t, []execProcess{{30, [2]uint64{5, 8}}, {31, [2]uint64{6, 7}}, {30, [2]uint64{9, 0}}}, p.execd)

	for i := range uint64(3 * maxExecs) {
		p.Execed(int(100+i), (i+1)*tick, false)
		p.Execed(int(100+i), (i+1)*tick, true)
		require.LessOrEqual(t, len(p.execd), maxExecs)
	}
	require.Equal(t, uint64(100+3*maxExecs-1), p.execd[len(p.execd)-1].PID)
}

// TestExecsInACheckpoint: whoever removes a dead shim's container knows them.
func TestExecsInACheckpoint(t *testing.T) {
	p := &probe{source: NewSource(t.TempDir(), oom.Hierarchy{Version: 2}), armedNS: 1, place: place{cgroup: 5}, family: family{init: TaskKey{TGID: 20}}}
	before := BootNow() / tick
	p.Execed(30, BootNow()-uint64(time.Second), false)
	p.Execed(30, BootNow(), true)
	list := p.execd
	require.Len(t, list, 1)
	require.InDelta(t, before, list[0].Ran[0]+100, 100)
	require.GreaterOrEqual(t, list[0].Ran[1], before)
	data, err := p.Checkpoint()
	require.NoError(t, err)
	resumed, err := p.source.Resume(data)
	require.NoError(t, err)
	require.Equal(t, list, resumed.(*probe).execd)
}
