package bpf

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

func TestLineage(t *testing.T) {
	const late = 1<<32 + 5 // 497 days after boot
	init, shim := TaskKey{TGID: 20, StartTicks: late}, TaskKey{TGID: 10, StartTicks: 7}
	pause, worker, root := TaskKey{TGID: 19, StartTicks: late - 1}, TaskKey{TGID: 21, StartTicks: late}, TaskKey{TGID: 30, StartTicks: late}
	systemd := TaskKey{TGID: 1, StartTicks: 3}
	known := family{init: init, shim: shim}
	for name, c := range map[string]struct {
		family    family
		victim    TaskKey
		ancestors []TaskKey
		nsInits   uint32
		want      oom.Lineage
	}{
		"init":                             {known, init, []TaskKey{shim, systemd}, 0, oom.LineageInit},
		"child":                            {known, worker, []TaskKey{init, shim, systemd}, 1, oom.LineageDescendant},
		"grandchild":                       {known, root, []TaskKey{worker, init, shim, systemd}, 2, oom.LineageDescendant},
		"exec'd":                           {known, root, []TaskKey{shim, systemd}, 0, oom.LineageExec},
		"exec'd process's child":           {known, worker, []TaskKey{root, shim, systemd}, 0, oom.LineageExec},
		"init's PID again":                 {known, worker, []TaskKey{{TGID: init.TGID, StartTicks: 9}, shim, systemd}, 0, oom.LineageExec},
		"orphan in a shared PID namespace": {known, worker, []TaskKey{pause, shim, systemd}, 1, oom.LineageUnknown},
		"its child":                        {known, worker, []TaskKey{root, pause, shim, systemd}, 2, oom.LineageUnknown},
		"nested PID namespace of an exec":  {known, worker, []TaskKey{pause, root, shim, systemd}, 1, oom.LineageExec},
		"orphan in the node's":             {family{init, shim, true}, worker, []TaskKey{shim, systemd}, 0, oom.LineageUnknown},
		"child in the node's":              {family{init, shim, true}, worker, []TaskKey{init, shim, systemd}, 0, oom.LineageDescendant},
		"the shim is dead":                 {known, root, []TaskKey{systemd}, 0, oom.LineageUnknown},
		"too long":                         {known, worker, []TaskKey{root, root, root}, 0, oom.LineageUnknown},
		"no shim known":                    {family{init: init}, worker, []TaskKey{{}, systemd}, 0, oom.LineageUnknown},
		"a ledger of ABI 1":                {known, worker, nil, 0, oom.LineageUnknown},
	} {
		r := Record{TGID: c.victim.TGID, StartTicks: c.victim.StartTicks, Depth: uint32(len(c.ancestors)), NSInits: c.nsInits}
		for i, a := range c.ancestors {
			r.Ancestors[i] = a.ref()
		}
		require.Equal(t, c.want, c.family.lineage(&r), name)
	}
}

// TestTaskRef: a reference finds the key that it was made of, also of a process that
// began before the lower half of the ticks began again.
func TestTaskRef(t *testing.T) {
	for _, start := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<33 + 5} {
		for _, near := range []uint64{start, start + 1, start + 1<<31} {
			key := TaskKey{TGID: 7, StartTicks: start}
			require.Contains(t, key.ref().keys(near), key, "%d near %d", start, near)
		}
	}
}
