package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/install"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/node"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/preflight"
	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/rootfs"
)

// fakeNode is a node whose containerd reads its files when it is restarted. It forces orders
// and failures; real nodes are tested in the guest.
type fakeNode struct {
	*node.Node
	root     string
	steps    []string
	said     []string
	findings []preflight.Finding
	fail     map[string]error

	mu       sync.Mutex // guards what follows: somebody else may restart containerd
	handlers []string
}

func newFake(t *testing.T, changes ...func(*fakeNode)) *fakeNode {
	f := &fakeNode{root: t.TempDir(), fail: map[string]error{}}
	proc := t.TempDir()
	f.put(t, "etc/containerd/config.toml", "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
	shim := filepath.Join(t.TempDir(), "shim")
	require.NoError(t, os.WriteFile(shim, []byte("\x7fELF"), 0o755))
	f.Node = &node.Node{
		Install: install.Options{
			BinDir: install.DefaultBinDir, ConfDir: criconf.DefaultDropinDir, MainConfig: criconf.DefaultPath,
			ConfigVersion: "auto", Handler: "oomwitness", SystemdCgroup: "true", SystemdUnit: "auto",
			ContainerdVersion: "2.4", Shim: shim, Command: shim, Root: rootfs.Dir(f.root), Proc: proc,
		},
		Check: func(context.Context) preflight.Report {
			f.step("check")
			return preflight.Report{Findings: f.findings}
		},
		Stale: func() preflight.Finding { return preflight.Finding{Status: preflight.OK} },
		Handlers: func(context.Context) ([]string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return slices.Clone(f.handlers), f.fail["handlers"]
		},
		Load:   func() (string, error) { f.step("load"); return "loaded", f.fail["load"] },
		Unload: func() (string, error) { f.step("unload"); return "unloaded", f.fail["unload"] },
		Mark: func(_ context.Context, carries bool) error {
			f.step(fmt.Sprint("mark ", carries))
			return f.fail["mark"]
		},
		Patience: time.Minute,
		Say:      func(format string, args ...any) { f.said = append(f.said, fmt.Sprintf(format, args...)) },
	}
	for _, change := range changes {
		change(f)
	}
	var err error
	f.Install, err = f.Install.Locate(t.Context())
	require.NoError(t, err)
	f.Systemd = fakeSystemd{f}
	return f
}

// fakeSystemd is the systemd of a fakeNode.
type fakeSystemd struct{ f *fakeNode }

func (s fakeSystemd) Reload(context.Context) error {
	s.f.step("systemd reload")
	return s.f.fail["systemd reload"]
}

func (s fakeSystemd) Restart(_ context.Context, unit string) error {
	s.f.step("systemd restart " + unit)
	s.f.restarted()
	return s.f.fail["systemd restart"]
}

func (s fakeSystemd) Stop(_ context.Context, unit string) error {
	s.f.step("systemd stop " + unit)
	return s.f.fail["systemd stop"]
}

func (f *fakeNode) step(name string) { f.steps = append(f.steps, name) }

func (f *fakeNode) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(f.root, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// restarted does what containerd does when it starts.
func (f *fakeNode) restarted() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers = []string{"runc"}
	if f.exists("etc/containerd/conf.d/oomwitness.toml") {
		f.handlers = append(f.handlers, "oomwitness")
	}
}

func (f *fakeNode) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(f.root, name))
	return err == nil
}

// shim makes a process that runs the shim.
func (f *fakeNode) shim(t *testing.T, pid string) string {
	t.Helper()
	dir := filepath.Join(f.Install.Proc, pid)
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(f.root, "usr/local/bin", criconf.ShimName), filepath.Join(dir, "exe")))
	return dir
}

const restart = "systemd restart containerd.service"

func TestSetupTwiceAndBack(t *testing.T) {
	f := newFake(t)
	f.put(t, "usr/lib/systemd/systemd", "")
	require.NoError(t, f.Setup(t.Context()))
	require.Equal(t, []string{"check", "check", "systemd reload", restart, "load", "mark true"}, f.steps)

	f.steps = nil
	require.NoError(t, f.Setup(t.Context()))
	require.Equal(t, []string{"check", "check", "load", "mark true"}, f.steps, "nothing changed, nothing is restarted")

	f.steps = nil
	require.NoError(t, f.Remove(t.Context()))
	require.Equal(t, []string{"mark false", "systemd stop oomwitness-ledger.service", "systemd reload", restart, "unload"}, f.steps)
	require.False(t, f.exists("usr/local/bin/"+criconf.ShimName))

	f.steps = nil
	require.NoError(t, f.Remove(t.Context()))
	require.NotContains(t, f.steps, restart)
}

func TestSetupOfAnUnfitNodeWritesNothing(t *testing.T) {
	f := newFake(t)
	f.findings = []preflight.Finding{
		{Name: "imports", Status: preflight.Fail, Found: "left from another time"},
		{Name: "cgroup", Status: preflight.Fail, Found: "hybrid", Do: "boot otherwise"},
	}
	require.EqualError(t, f.Setup(t.Context()), "this node cannot run the shim: cgroup: hybrid; boot otherwise")
	require.Equal(t, []string{"check"}, f.steps)
	require.False(t, f.exists("etc/containerd/conf.d"))
}

// TestSetupNotRead: the containerd would never read the drop-in.
func TestSetupNotRead(t *testing.T) {
	f := newFake(t)
	f.findings = []preflight.Finding{{Name: "imports", Status: preflight.Fail, Found: "not imported", Do: "add the line"}}
	err := f.Setup(t.Context())
	require.ErrorContains(t, err, "imports: not imported; add the line")
	f.untouched(t, err)
	require.Equal(t, []string{"check", "check"}, f.steps, "neither restarted nor labelled")
}

func TestSetupFailsAheadOfTheLabel(t *testing.T) {
	for _, step := range []string{"systemd restart", "mark"} {
		f := newFake(t)
		f.fail[step] = errors.New("boom")
		require.ErrorContains(t, f.Setup(t.Context()), "boom", step)
	}
	f := newFake(t)
	f.fail["load"] = errors.New("no BPF here")
	require.NoError(t, f.Setup(t.Context()), "the counters are there without the ledger")
	require.Contains(t, f.said, "note: no ledger: no BPF here")
}

func TestSetupWaitsForSomebodyElsesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Systemd = nil
		go func() {
			time.Sleep(30 * time.Second)
			f.restarted()
		}()
		require.NoError(t, f.Setup(t.Context()))
		require.Equal(t, []string{"check", "check", "load", "mark true"}, f.steps)
		require.Contains(t, f.said, `containerd has no runtime handler "oomwitness": waiting until it is restarted`)
	})
}

func TestSetupGivesUpWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Systemd = nil
		err := f.Setup(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `waited 1m0s for containerd to be restarted: containerd has no runtime handler "oomwitness"`)
		require.NotContains(t, f.steps, "mark true")
	})
}

// TestSetupCutOff: the end of the time cuts off the last look, and the error has what the look
// before saw.
func TestSetupCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Systemd = nil
		begin := time.Now()
		f.Handlers = func(ctx context.Context) ([]string, error) {
			if time.Since(begin) < f.Patience/2 {
				return []string{"runc"}, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		err := f.Setup(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `waited 1m0s for containerd to be restarted: containerd has no runtime handler "oomwitness"`)
	})
}

// TestSetupUndone: containerd does not come back with the registration, and gets its files
// back.
func TestSetupUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.handlers = []string{"runc"}
		f.Handlers = func(context.Context) ([]string, error) {
			if f.exists("etc/containerd/conf.d/oomwitness.toml") {
				return nil, errors.New("connection refused")
			}
			return []string{"runc"}, nil
		}
		err := f.Setup(t.Context())
		require.ErrorContains(t, err, "containerd did not come back with the registration, which was undone: waited 1m0s for containerd to be restarted: connection refused")
		require.Equal(t, []string{"check", "check", restart, restart}, f.steps)
		require.False(t, f.exists("etc/containerd/conf.d/oomwitness.toml"))
		require.False(t, f.exists("usr/local/bin/"+criconf.ShimName))
	})
}

// TestSetupRestartsAnOldContainerd: the running containerd has the handler, from an older
// drop-in.
func TestSetupRestartsAnOldContainerd(t *testing.T) {
	f := newFake(t)
	f.handlers = []string{"oomwitness"}
	f.Stale = func() preflight.Finding {
		if f.steps[len(f.steps)-1] == restart {
			return preflight.Finding{Status: preflight.OK}
		}
		return preflight.Finding{Status: preflight.Warn, Found: "older than its files"}
	}
	require.NoError(t, f.Setup(t.Context()))
	require.Contains(t, f.steps, restart)
}

func TestRemoveWaitsForShims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		require.NoError(t, f.Setup(t.Context()))
		dir := f.shim(t, "77")
		go func() {
			time.Sleep(20 * time.Second)
			_ = os.RemoveAll(dir)
		}()
		f.said = nil
		require.NoError(t, f.Remove(t.Context()))
		require.Contains(t, f.said, "1 shim runs (pid 77): waiting until the last has ended")
		require.False(t, f.exists("usr/local/bin/"+criconf.ShimName))
	})
}

func TestRemoveNeverTakesARunningShimsBinary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		require.NoError(t, f.Setup(t.Context()))
		f.shim(t, "77")
		f.steps = nil
		err := f.Remove(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "(pid 77) from /usr/local/bin/containerd-shim-oomwitness-v2: delete the pods first")
		require.Equal(t, "mark false", f.steps[0], "no more pods come")
		require.NotContains(t, f.steps, "unload")
		require.True(t, f.exists("usr/local/bin/"+criconf.ShimName))
	})
}
