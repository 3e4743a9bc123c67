package oom_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// raised are counters that have risen by so much in a cgroup.
type raised struct {
	path string
	by   oom.Counters
}

// TestGroupKills has a row for each cgroup that may have memory.oom.group, with what the
// kernel counts of four victims there.
func TestGroupKills(t *testing.T) {
	for name, tc := range map[string]struct {
		readings [][]raised // what has risen before each
		kills    uint64
		twice    uint64
		cause    oom.Cause
	}{
		"its own": {[][]raised{
			{{"/pod/c", oom.Counters{OOM: 1, OOMKill: 5, OOMGroupKill: 1}}},
		}, 4, 0, oom.CauseContainer},
		"its own, read in the middle": {[][]raised{
			{{"/pod/c", oom.Counters{OOM: 1, OOMKill: 2, OOMGroupKill: 1}}},
			{{"/pod/c", oom.Counters{OOMKill: 3}}},
		}, 4, 0, oom.CauseContainer},
		"its own, read before the group": {[][]raised{
			{{"/pod/c", oom.Counters{OOM: 1, OOMKill: 1}}},
			{{"/pod/c", oom.Counters{OOMKill: 4, OOMGroupKill: 1}}},
		}, 4, 0, oom.CauseContainer},
		"its own, by the pod's limit": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1}}, {"/pod/c", oom.Counters{OOMKill: 5, OOMGroupKill: 1}}},
		}, 4, 0, oom.CausePod},
		"its own, of one that was gone at once": {[][]raised{
			{{"/pod/c", oom.Counters{OOM: 1, OOMKill: 1, OOMGroupKill: 1}}},
		}, 1, 0, oom.CauseContainer},
		// The counters of nested cgroups are in the container's.
		"nested in it": {[][]raised{
			{{"/pod/c", oom.Counters{OOM: 1, OOMKill: 5, OOMGroupKill: 1}}},
		}, 4, 0, oom.CauseContainer},
		"the pod's, the first victim here": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 5}}},
		}, 5, 1, oom.CausePod},
		"the pod's, the first victim elsewhere": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 4}}, {"/pod/other", oom.Counters{OOMKill: 3}}},
		}, 4, 1, oom.CausePod},
		"the pod's, read in the middle": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1}}, {"/pod/c", oom.Counters{OOMKill: 1}}},
			{{"/pod", oom.Counters{OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 4}}},
		}, 5, 1, oom.CausePod},
		"above the pod": {[][]raised{
			{{"/", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 5}}},
		}, 5, 1, oom.CauseAncestor},
		"the pod's, twice": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 2}}},
			{{"/pod", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/c", oom.Counters{OOMKill: 2}}},
		}, 4, 2, oom.CausePod},
		"the pod's, which killed others alone": {[][]raised{
			{{"/pod", oom.Counters{OOM: 1, OOMGroupKill: 1}}, {"/pod/other", oom.Counters{OOMKill: 2}}},
		}, 0, 0, oom.CauseNone},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTree(t, 2)
			f.raise(t, "/", oom.Counters{})
			p, err := f.Source().Arm(f.Target())
			require.NoError(t, err)
			var ev oom.Evidence
			for _, all := range tc.readings {
				for _, r := range all {
					f.raise(t, r.path, r.by)
				}
				ev, err = p.Read()
				require.NoError(t, err)
			}
			require.Equal(t, tc.kills, ev.Kills)
			require.Equal(t, tc.twice, ev.Twice)
			require.Equal(t, tc.cause, ev.Cause)
		})
	}
}

// Before Linux 5.17 no counter says that a kill was a group's: each OOM may have counted
// one victim twice.
func TestGroupKillsOfAnOldKernel(t *testing.T) {
	f := newTree(t, 2)
	f.noGroups = true
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	f.raise(t, "/pod/c", oom.Counters{OOM: 1, OOMKill: 5})
	f.raise(t, "/pod", oom.Counters{OOM: 1})
	ev, err := p.Read()
	require.NoError(t, err)
	require.EqualValues(t, 5, ev.Kills)
	require.EqualValues(t, 2, ev.Twice)
}

// A shim of before looked at no root: what it has checkpointed is resumed.
func TestResumeWithoutTheNamespacesRoot(t *testing.T) {
	f := newTree(t, 2)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	checkpoint, err := p.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
	f.raise(t, "/", oom.Counters{OOM: 1}) // from here on it is a namespace's root
	resumed, err := f.Source().(oom.Resumer).Resume(checkpoint)
	require.NoError(t, err)
	f.raise(t, "/pod", oom.Counters{OOM: 1})
	f.raise(t, "/pod/c", oom.Counters{OOMKill: 1})
	ev, err := resumed.Read()
	require.NoError(t, err)
	require.Equal(t, oom.CausePod, ev.Cause)
}
