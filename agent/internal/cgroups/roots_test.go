package cgroups

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/oom"
	"github.com/oomwitness/oomwitness/oom/oomtest"
)

const ownUID = "0f7a2b1c-1234-4abc-8def-0123456789ab"

// TestRootsOf: the root is read from the path of a pod's container, for both drivers.
func TestRootsOf(t *testing.T) {
	escaped := strings.ReplaceAll(ownUID, "-", "_")
	for cgroup, want := range map[string]string{
		"/kubepods/burstable/pod" + ownUID + "/c":                                                "/",
		"/kubelet/kubepods/pod" + ownUID + "/c/deeper":                                           "/kubelet",
		"/a/b-c/kubepods/besteffort/pod" + ownUID + "/c":                                         "/a/b-c",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + escaped + ".slice/c": "/",
		"/kubepods.slice/kubepods-pod" + escaped + ".slice/crio-x.scope/container":               "/",
		"/a.slice/a-b_c.slice/a-b_c-kubepods.slice/a-b_c-kubepods-pod" + escaped + ".slice/c":    "/a/b-c",
		containerdUnit + "/x-kubepods-burstable-pod" + escaped + ".slice:cri-containerd:c":       "/x",
		// kubelet's of a node that is itself a pod: the own pod is in the inner one
		"/kubepods/pod5f2a9c1b/c/kubelet/kubepods/pod" + ownUID + "/c": "/kubepods/pod5f2a9c1b/c/kubelet",
		// names that are not kubelet's, or at another depth
		"/kubepods/pod" + ownUID[1:] + "/c":                              "",
		"/kubepods/fast/pod" + ownUID + "/c":                             "",
		"/system.slice/kubepods-pod" + escaped + ".slice/c":              "",
		"/user.slice/kubepods.slice/kubepods-pod" + escaped + ".slice/c": "",
		"/pod" + ownUID: "",
	} {
		require.Equal(t, want, rootOf(cgroup, ownUID), cgroup)
	}
}

// TestOwnPod has a process in a cgroup that is named as kubelet names a pod's container,
// beside cgroups of the same name that are another's.
func TestOwnPod(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make cgroups")
	}
	h, err := oom.FindHierarchy()
	require.NoError(t, err)
	parent := filepath.Join(h.Mount, fmt.Sprintf("oomwitness-own-%d", os.Getpid()))
	dir := parent
	for _, name := range []string{"", "kubepods", "burstable", "pod" + ownUID, "c"} {
		dir = filepath.Join(dir, name)
		oomtest.MakeCgroup(t, h, dir, 0)
	}
	fake := filepath.Join(parent, "fake")
	oomtest.MakeCgroup(t, h, fake, 0)
	oomtest.MakeCgroup(t, h, filepath.Join(fake, "kubepods"), 0)
	oomtest.MakeCgroup(t, h, filepath.Join(fake, "kubepods", "pod"+ownUID), 0)
	root := strings.TrimPrefix(parent, h.Mount)
	refused := func(err error) { require.NoError(t, err) }

	_, err = ownRoot(h.Mount, ownUID, os.Getpid())
	require.ErrorContains(t, err, "has this process", "it is in none of them")
	cmd := exec.CommandContext(t.Context(), "sleep", "1000000")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0))
	got, err := ownRoot(h.Mount, ownUID, cmd.Process.Pid)
	require.NoError(t, err)
	require.Equal(t, root, got)

	require.NoError(t, os.Chown(filepath.Dir(dir), 65534, 65534))
	_, err = ownRoot(h.Mount, ownUID, cmd.Process.Pid)
	require.ErrorContains(t, err, "has this process", "what another user has made is not looked into")
	_, err = ownRoot(h.Mount, "../x", cmd.Process.Pid)
	require.ErrorContains(t, err, `pod UID "../x": has to be`)
	require.Equal(t, Roots{DefaultRoots, FromDefault}, LearnRoots(RootOptions{Mount: h.Mount}, refused))
}

// TestConfiguredRoot: kubelet's file counts where root alone can write it, and the value
// is a path.
func TestConfiguredRoot(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.yaml")
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	for text, want := range map[string]struct{ root, err string }{
		head + "cgroupRoot: /kubelet\ncgroupDriver: systemd\n": {root: "/kubelet"},
		head + "cgroupDriver: systemd\n":                       {},
		`{"kind":"KubeletConfiguration","cgroupRoot":"/"}`:     {root: "/"},
		head + "cgroupRoot: /a/../b\n":                         {err: `cgroupRoot "/a/../b": has to be an absolute path`},
		head + "cgroupRoot: kubelet\n":                         {err: `cgroupRoot "kubelet": has to be an absolute path`},
		head + "cgroupRoot: \"/a\\u001b\"\n":                   {err: "has to be an absolute path"},
		head + "cgroupRoot: [1]\n":                             {err: "cannot unmarshal array"},
		"kind: Pod\ncgroupRoot: /kubelet\n":                    {err: `kind "Pod": has to be KubeletConfiguration`},
		"\x00":                                                 {err: name},
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		root, err := configuredRoot(name)
		require.Equal(t, want.root, root, text)
		if want.err == "" {
			require.NoError(t, err, text)
		} else {
			require.ErrorContains(t, err, want.err, text)
		}
	}
	var refusals []error
	refuse := func(err error) { refusals = append(refusals, err) }
	require.NoError(t, os.WriteFile(name, []byte(head+"cgroupRoot: /kubelet\n"), 0o600))
	require.Equal(t, Roots{[]string{"/kubelet"}, FromConfig}, LearnRoots(RootOptions{Config: name}, refuse))
	require.Equal(t, Roots{[]string{"/a"}, FromFlag}, LearnRoots(RootOptions{Config: name, Given: []string{"/a"}}, refuse))
	require.Equal(t, Roots{DefaultRoots, FromDefault}, LearnRoots(RootOptions{Config: name + ".not"}, refuse))
	require.Empty(t, refusals)
	require.NoError(t, os.Chmod(name, 0o622))
	require.Equal(t, Roots{DefaultRoots, FromDefault}, LearnRoots(RootOptions{Config: name}, refuse))
	require.ErrorContains(t, refusals[0], "has to be a regular file of root that nobody else can write")
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	_, err := configuredRoot(fifo)
	require.ErrorContains(t, err, "has to be a regular file")
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("kind: KubeletConfiguration\ncgroupRoot: /kubelet\n"))
	f.Add([]byte(`{"kind":"KubeletConfiguration","cgroupRoot":"/a/b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := parseConfig(data)
		if err != nil || root == "" {
			require.Empty(t, root)
			return
		}
		require.NoError(t, CheckRoots([]string{root}))
	})
}

func FuzzRootOf(f *testing.F) {
	f.Add("/a.slice/a-kubepods.slice/a-kubepods-pod" + strings.ReplaceAll(ownUID, "-", "_") + ".slice/c")
	f.Add("/kubepods/pod" + ownUID + "/c")
	f.Fuzz(func(t *testing.T, cgroup string) {
		if root := rootOf(cgroup, ownUID); root != "" {
			require.NoError(t, CheckRoots([]string{root}))
			require.Equal(t, ownUID, newKubelet([]string{root}).Locate(cgroup).PodUID)
		}
	})
}
