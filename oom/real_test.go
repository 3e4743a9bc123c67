package oom_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// TestCountersConformForReal runs the suite on this machine's kernel.
func TestCountersConformForReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err, "the machine has no memory controller")
	t.Logf("memory controller: cgroup v%d at %s", h.Version, h.Mount)
	oomtest.Run(t, func(t *testing.T) oomtest.Fixture { return newReal(t, h) })
}

// TestNestedGoneForReal has a cgroup nested in a container's removed after a kill in it, as a
// Docker in a container does.
func TestNestedGoneForReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	if h.Version != 1 {
		t.Skip("needs cgroup v1: on v2 the container's own counters have those of removed cgroups")
	}
	f := newReal(t, h)
	p, err := f.Source().Arm(f.Target())
	require.NoError(t, err)
	nested := filepath.Join(f.dir, "nested")
	oomtest.MakeCgroup(t, h, nested, oomtest.RealLimit)
	oomtest.KillIn(t, nested, nil)
	for range 2 {
		ev, err := p.Read()
		require.NoError(t, err)
		require.EqualValues(t, 1, ev.Kills)
		oomtest.RemoveCgroup(t, nested)
	}
}

// real is a container as the kernel sees it: a limited cgroup with an idle init,
// and a sibling beside it.
type real struct {
	h        oom.Hierarchy
	dir, sib string
	init     *exec.Cmd
}

func newReal(t *testing.T, h oom.Hierarchy) *real {
	t.Helper()
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-test-%d", time.Now().UnixNano()))
	f := &real{h: h, dir: filepath.Join(parent, "c"), sib: filepath.Join(parent, "other")}
	oomtest.MakeCgroup(t, h, parent, 0)
	oomtest.MakeCgroup(t, h, f.dir, oomtest.RealLimit)
	oomtest.MakeCgroup(t, h, f.sib, oomtest.RealLimit)
	f.init = exec.Command("sleep", "600")
	require.NoError(t, f.init.Start())
	t.Cleanup(func() { f.endInit() })
	oomtest.Join(t, f.dir, f.init.Process.Pid)
	return f
}

func (f *real) endInit() {
	if f.init != nil {
		_ = f.init.Process.Kill()
		_ = f.init.Wait()
		f.init = nil
	}
}

func (f *real) Source() oom.Source {
	s, err := oom.NewCounters(f.h)
	if err != nil {
		panic(err)
	}
	return s
}

func (f *real) Target() oom.Target { return oom.Target{ID: "c", Pid: f.init.Process.Pid} }

func (f *real) Kill(t *testing.T, n int) {
	t.Helper()
	for range n {
		oomtest.KillIn(t, f.dir, nil)
	}
}

func (f *real) KillOther(t *testing.T) { oomtest.KillIn(t, f.sib, nil) }

func (f *real) Remove(t *testing.T) {
	t.Helper()
	f.endInit()
	oomtest.RemoveCgroup(t, f.dir)
}

func (f *real) Spoil(*testing.T) bool { return false }
