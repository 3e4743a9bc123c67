package oom_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// tree is a made-up cgroup tree: /pod/c is the container, /pod/other its
// sibling. It forces what a real kernel does only now and then, and proves
// nothing about one.
type tree struct {
	root    string
	version int
	counts  map[string]oom.Counters // by path
	pid     int
	// noGroups is true of a kernel that does not count group kills.
	noGroups bool
}

func newTree(t *testing.T, version int) *tree {
	t.Helper()
	f := &tree{root: t.TempDir(), version: version, counts: map[string]oom.Counters{}, pid: 4711}
	for _, p := range []string{"/pod", "/pod/c", "/pod/other"} {
		require.NoError(t, os.MkdirAll(f.dir(p), 0o755))
		f.write(t, p)
	}
	proc := filepath.Join(f.root, "proc", fmt.Sprint(f.pid))
	require.NoError(t, os.MkdirAll(proc, 0o755))
	line := map[int]string{1: "4:memory:/pod/c\n0::/elsewhere\n", 2: "0::/pod/c\n"}[version]
	require.NoError(t, os.WriteFile(filepath.Join(proc, "cgroup"), []byte(line), 0o644))
	return f
}

func (f *tree) dir(path string) string { return filepath.Join(f.root, "cgroup", path) }

func (f *tree) files(path string) []string {
	if f.version == 1 {
		return []string{filepath.Join(f.dir(path), "memory.oom_control")}
	}
	return []string{filepath.Join(f.dir(path), "memory.events"), filepath.Join(f.dir(path), "memory.events.local")}
}

func (f *tree) write(t *testing.T, path string) {
	t.Helper()
	c := f.counts[path]
	text := fmt.Sprintf("oom_kill_disable 0\nunder_oom 0\noom_kill %d\n", c.OOMKill)
	if f.version == 2 {
		text = fmt.Sprintf("low 0\nhigh 0\nmax 7\noom %d\noom_kill %d\n", c.OOM, c.OOMKill)
		if !f.noGroups {
			text += fmt.Sprintf("oom_group_kill %d\n", c.OOMGroupKill)
		}
	}
	for _, name := range f.files(path) {
		// In one step, as a reading of the kernel's is whole.
		require.NoError(t, os.WriteFile(name+".new", []byte(text), 0o644))
		require.NoError(t, os.Rename(name+".new", name))
	}
}

// raise adds to the counters of a path.
func (f *tree) raise(t *testing.T, path string, by oom.Counters) {
	t.Helper()
	c := f.counts[path]
	f.counts[path] = oom.Counters{
		OOM: c.OOM + by.OOM, OOMKill: c.OOMKill + by.OOMKill, OOMGroupKill: c.OOMGroupKill + by.OOMGroupKill,
	}
	f.write(t, path)
}

func (f *tree) Source() oom.Source {
	s, err := oom.NewCounters(oom.Hierarchy{
		Version: f.version, Mount: filepath.Join(f.root, "cgroup"), Proc: filepath.Join(f.root, "proc"),
	})
	if err != nil {
		panic(err)
	}
	return s
}

func (f *tree) Target() oom.Target { return oom.Target{ID: "c", Pid: f.pid, Pod: true} }

func (f *tree) Kill(t *testing.T, n int) {
	f.raise(t, "/pod/c", oom.Counters{OOM: 1, OOMKill: uint64(n)})
}

func (f *tree) KillOther(t *testing.T) {
	f.raise(t, "/pod/other", oom.Counters{OOM: 1, OOMKill: 1})
}

func (f *tree) Remove(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(f.dir("/pod/c")))
}

func (f *tree) Spoil(t *testing.T) bool {
	t.Helper()
	require.NoError(t, os.WriteFile(f.files("/pod/c")[0], []byte("oom_kill many\n"), 0o644))
	return true
}

func TestCountersConform(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			oomtest.Run(t, func(t *testing.T) oomtest.Fixture { return newTree(t, version) })
		})
	}
	_, err := oom.NewCounters(oom.Hierarchy{Version: 3})
	require.ErrorContains(t, err, "v3")
}

// The table of the project's facts.
func TestCauseOnV2(t *testing.T) {
	kill, limit := oom.Counters{OOMKill: 1}, oom.Counters{OOM: 1}
	own := oom.Counters{OOM: 1, OOMKill: 1}
	for name, tc := range map[string]struct {
		pod  bool
		harm func(f *tree)
		want oom.Cause
	}{
		"own limit":          {true, func(f *tree) { f.raise(t, "/pod/c", own) }, oom.CauseContainer},
		"pod's limit":        {true, func(f *tree) { f.raise(t, "/pod", oom.Counters{OOM: 1}); f.raise(t, "/pod/c", kill) }, oom.CausePod},
		"a slice's":          {false, func(f *tree) { f.raise(t, "/pod", oom.Counters{OOM: 1}); f.raise(t, "/pod/c", kill) }, oom.CauseAncestor},
		"a namespace's root": {true, func(f *tree) { f.raise(t, "/", limit); f.raise(t, "/pod/c", kill) }, oom.CauseAncestor},
		"the whole node":     {true, func(f *tree) { f.raise(t, "/pod/c", kill) }, oom.CauseNode},
		"unreadable":         {true, func(f *tree) { f.raise(t, "/pod/c", kill); f.spoilLocal(t, "/pod") }, oom.CauseUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			f := newTree(t, 2)
			f.raise(t, "/pod", oom.Counters{OOM: 5}) // before the container's time
			f.raise(t, "/", oom.Counters{OOM: 5})    // of a namespace: the root of all has no such file
			target := f.Target()
			target.Pod = tc.pod
			p, err := f.Source().Arm(target)
			require.NoError(t, err)
			tc.harm(f)
			ev, err := p.Read()
			require.NoError(t, err)
			require.Equal(t, tc.want, ev.Cause)
		})
	}
}

func (f *tree) spoilLocal(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(f.files(path)[1], []byte("?\n"), 0o644))
}

// oom rises a moment before oom_kill: a reading in between must not lose it.
func TestCauseAcrossTwoReadings(t *testing.T) {
	f := newTree(t, 2)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	f.raise(t, "/pod/c", oom.Counters{OOM: 1})
	_, err = p.Read()
	require.NoError(t, err)
	f.raise(t, "/pod/c", oom.Counters{OOMKill: 1})
	ev, err := p.Read()
	require.NoError(t, err)
	require.Equal(t, oom.CauseContainer, ev.Cause)
}

// On cgroup v1 the counter of a cgroup leaves out those nested in it.
func TestNestedOnV1(t *testing.T) {
	f := newTree(t, 1)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(f.dir("/pod/c/in"), 0o755))
	f.raise(t, "/pod/c/in", oom.Counters{OOMKill: 2})
	ev, err := p.Read()
	require.NoError(t, err)
	require.EqualValues(t, 2, ev.Kills)

	// One that is removed takes its count with it.
	require.NoError(t, os.RemoveAll(f.dir("/pod/c/in")))
	ev, err = p.Read()
	require.NoError(t, err)
	require.EqualValues(t, 2, ev.Kills)
	checkpoint, err := p.(oom.Checkpointer).Checkpoint()
	require.NoError(t, err)
	f.raise(t, "/pod/c", oom.Counters{OOMKill: 1})
	before := ev.Last
	resumed, err := f.Source().(oom.Resumer).Resume(checkpoint)
	require.NoError(t, err)
	for _, p := range []oom.Probe{p, resumed} {
		ev, err = p.Read()
		require.NoError(t, err)
		require.EqualValues(t, 3, ev.Kills)
		require.True(t, ev.Last.After(before))
	}
}

// A cgroup that was removed and made again is another one.
func TestAnotherCgroupOfTheSameName(t *testing.T) {
	f := newTree(t, 2)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	require.NoError(t, os.Rename(f.dir("/pod/c"), f.dir("/pod/was")))
	require.NoError(t, os.MkdirAll(f.dir("/pod/c"), 0o755))
	f.raise(t, "/pod/c", oom.Counters{OOM: 1, OOMKill: 1})
	ev, err := p.Read()
	require.ErrorIs(t, err, oom.ErrGone)
	require.Zero(t, ev.Kills)
}
