package oom_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

// inNamespace is set for the process in the cgroup namespace, to the name of the test.
const inNamespace = "OOMWITNESS_CGROUP_NAMESPACE"

// TestTheRootOfANamespace has a node that is a container itself: the limit of the cgroup
// that is the root there fires.
func TestTheRootOfANamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	if h.Version < 2 {
		t.Skip("needs cgroup v2, whose counters say whose limit fired")
	}
	if os.Getenv(inNamespace) != "" {
		inTheNamespace(t)
		return
	}
	node := filepath.Join(h.Mount, "oomwitness-node")
	oomtest.MakeCgroup(t, h, node, 96<<20)
	t.Cleanup(func() {
		for _, below := range []string{"leaf", "c"} {
			oomtest.RemoveCgroup(t, filepath.Join(node, below))
		}
	})
	dir, err := os.Open(node)
	require.NoError(t, err)
	defer dir.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run", "^TestTheRootOfANamespace$")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(dir.Fd()), Unshareflags: syscall.CLONE_NEWCGROUP | syscall.CLONE_NEWNS,
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestTheRootOfANamespace", "the control: it ran")
}

// inTheNamespace is the node: it has cgroups of its own, below its root.
func inTheNamespace(t *testing.T) {
	require.NoError(t, os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0))
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	h := oom.Hierarchy{Version: 2, Mount: t.TempDir()}
	require.NoError(t, syscall.Mount("cgroup2", h.Mount, "cgroup2", 0, ""))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(h.Mount, syscall.MNT_DETACH)) })
	leaf, container := filepath.Join(h.Mount, "leaf"), filepath.Join(h.Mount, "c")
	require.NoError(t, os.Mkdir(leaf, 0o755))
	oomtest.Join(t, leaf, os.Getpid())
	require.NoError(t, os.WriteFile(filepath.Join(h.Mount, "cgroup.subtree_control"), []byte("+memory"), 0))
	require.NoError(t, os.Mkdir(container, 0o755))

	init := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, init.Start())
	defer func() {
		_ = init.Process.Kill()
		_ = init.Wait()
	}()
	oomtest.Join(t, container, init.Process.Pid)
	path, err := h.PathOf(init.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, "/c", path, "the control: the root is the node's cgroup")
	source, err := oom.NewCounters(h)
	require.NoError(t, err)
	probe, err := source.Arm(oom.Target{ID: "c", Pid: init.Process.Pid})
	require.NoError(t, err)
	oomtest.KillIn(t, container, nil)
	ev, err := probe.Read()
	require.NoError(t, err)
	require.EqualValues(t, 1, ev.Kills)
	require.Equal(t, oom.CauseAncestor, ev.Cause)
}
